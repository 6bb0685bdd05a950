# Downloads one object of a bucket, or every object below a prefix, into $MODEL_DIR.
# This text is constant. What a user wrote arrives in MODEL_BUCKET, MODEL_KEY, MODEL_FILE, MODEL_HEAD, MODEL_LIST,
# AWS_ENDPOINT_URL and AWS_REGION. MODEL_HEAD and MODEL_LIST are JSON, because aws reads a file or an address in place of
# any other value that looks like one.
umask 022
mkdir -p "$MODEL_DIR"
set -- --region="$AWS_REGION"
if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
  set -- "$@" --endpoint-url="$AWS_ENDPOINT_URL"
fi
# Without keys and without a cloud identity of the service account, the bucket is read as anybody may read it.
if [ -z "${AWS_ACCESS_KEY_ID:-}${AWS_WEB_IDENTITY_TOKEN_FILE:-}${AWS_CONTAINER_CREDENTIALS_FULL_URI:-}" ]; then
  set -- "$@" --no-sign-request
fi
case "$MODEL_KEY" in
*/) ;;
*)
  if aws "$@" s3api head-object --cli-input-json "$MODEL_HEAD" >/dev/null 2>"$HOME/head"; then
    exec aws "$@" s3 cp --only-show-errors "s3://$MODEL_BUCKET/$MODEL_KEY" "$MODEL_DIR/$MODEL_FILE"
  fi
  ;;
esac
first=$(aws "$@" s3api list-objects-v2 --cli-input-json "$MODEL_LIST" --no-paginate --query 'Contents[0].Key' --output text)
if [ "$first" = None ]; then
  if [ -e "$HOME/head" ]; then cat "$HOME/head" >&2; fi
  echo "there is no object s3://$MODEL_BUCKET/$MODEL_KEY and none below it" >&2
  exit 1
fi
exec aws "$@" s3 cp --recursive --only-show-errors "s3://$MODEL_BUCKET/${MODEL_KEY%/}/" "$MODEL_DIR"
