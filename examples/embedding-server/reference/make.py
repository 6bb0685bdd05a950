"""Writes reference.json: embeddings of a few sentences by sentence-transformers on PyTorch, which share no code with the
server of this example. Its answers are compared with them.

On Debian 12, in this folder:

    apt-get install python3-torch python3-venv
    python3 -m venv --system-site-packages /tmp/reference
    /tmp/reference/bin/pip install --no-deps -r requirements.txt
    /tmp/reference/bin/python make.py MODEL_FOLDER
"""

import json
import pathlib
import sys

import sentence_transformers
import torch
import transformers

SENTENCES = [
    # The demo compares these three: two alike, one about something else.
    "How do I reset my password?",
    "I cannot log in because I forgot my secret word.",
    "The soup needs two more cups of water.",
    # What a tokenizer can get wrong.
    "Zürich, naïve café: 3.14 × 10⁻³ — 東京で寿司を食べる 🍣 don't_split@this",
    # Longer than the model reads: the rest is cut off.
    " ".join(f"Sentence {number} of a text that goes on and on." for number in range(60)),
]

model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
embeddings = model.encode(SENTENCES, convert_to_numpy=True)
reference = {
    "made_with": {
        "sentence-transformers": sentence_transformers.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    },
    # Nine digits tell any two f32 apart.
    "sentences": [
        {"text": text, "embedding": [float(f"{number:.9g}") for number in embedding]}
        for text, embedding in zip(SENTENCES, embeddings)
    ],
}
lines = ",\n".join(json.dumps(sentence, ensure_ascii=False) for sentence in reference["sentences"])
made_with = json.dumps(reference["made_with"])
text = f'{{"made_with": {made_with},\n"sentences": [\n{lines}\n]}}\n'
pathlib.Path(__file__).with_name("reference.json").write_text(text, encoding="utf-8")
