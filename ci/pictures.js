// Draws the pictures of a page of the book. The renderer is large, so it is loaded only where there is one.
const pictures = document.querySelectorAll("code.language-mermaid");
if (pictures.length > 0) {
  const renderer = document.createElement("script");
  renderer.src = `${path_to_root}mermaid.min.js`;
  renderer.onload = () => {
    for (const code of pictures) {
      const picture = document.createElement("pre");
      picture.className = "mermaid";
      picture.textContent = code.textContent;
      code.closest("pre").replaceWith(picture);
    }
    const isDark = ["ayu", "coal", "navy"].some((theme) => document.documentElement.classList.contains(theme));
    mermaid.initialize({ startOnLoad: false, theme: isDark ? "dark" : "default" });
    mermaid.run();
  };
  document.head.append(renderer);
}
