# Downloads a repository of a Hugging Face hub into $MODEL_DIR.
# This text is constant. What a user wrote arrives in MODEL_REPO_ID, MODEL_REVISION, MODEL_INCLUDE and MODEL_EXCLUDE.
umask 022
export PYTHONPATH="$HOME/python"
if ! python -c 'import huggingface_hub' 2>/dev/null; then
  pip install --quiet --no-cache-dir --disable-pip-version-check --target "$HOME/python" huggingface_hub
fi
exec python -c '
import json, os, sys
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.utils import filter_repo_objects

repo, revision = os.environ["MODEL_REPO_ID"], os.environ["MODEL_REVISION"]
patterns = {
    "allow_patterns": json.loads(os.environ["MODEL_INCLUDE"]) or None,
    "ignore_patterns": json.loads(os.environ["MODEL_EXCLUDE"]) or None,
}
files = HfApi().list_repo_files(repo, revision=revision)
if not any(True for _ in filter_repo_objects(files, **patterns)):
    sys.exit(f"no file of {repo} at {revision} matches include and exclude")
snapshot_download(repo, revision=revision, local_dir=os.environ["MODEL_DIR"], **patterns)
'
