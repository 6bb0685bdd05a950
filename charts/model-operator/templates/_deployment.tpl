{{/*
A generated Deployment with what the values say, as JSON. Arguments: root, deployment.
*/}}
{{- define "model-operator.deployment" -}}
{{- $deployment := .deployment -}}
{{- $component := trimPrefix "model-" $deployment.metadata.name -}}
{{- $values := index .root.Values $component -}}
{{- $template := $deployment.spec.template -}}
{{- $pod := $template.spec -}}
{{- $container := first $pod.containers -}}

{{- $_ := set $deployment.spec "replicas" $values.replicas -}}
{{- $_ := set $template.metadata "labels" (merge dict $template.metadata.labels $values.podLabels) -}}
{{- with merge dict ($template.metadata.annotations | default dict) $values.podAnnotations -}}
{{- $_ := set $template.metadata "annotations" . -}}
{{- end -}}
{{- with .root.Values.airGap.imagePullSecrets -}}
{{- $secrets := list -}}
{{- range . -}}{{- $secrets = append $secrets (dict "name" .) -}}{{- end -}}
{{- $_ := set $pod "imagePullSecrets" $secrets -}}
{{- end -}}
{{- range $field := tuple "nodeSelector" "tolerations" "affinity" "priorityClassName" -}}
{{- with get $values $field -}}
{{- $_ := set $pod $field . -}}
{{- end -}}
{{- end -}}
{{- with $values.topologySpreadConstraints -}}
{{- $constraints := list -}}
{{- range . -}}
{{- $constraints = append $constraints (merge dict . (dict "labelSelector" $deployment.spec.selector)) -}}
{{- end -}}
{{- $_ := set $pod "topologySpreadConstraints" $constraints -}}
{{- end -}}

{{- $_ := set $container "image" (include "model-operator.image" (dict "root" .root "image" $values.image)) -}}
{{- $_ := set $container "imagePullPolicy" .root.Values.image.pullPolicy -}}
{{- $_ := set $container "resources" $values.resources -}}
{{- $settings := printf "model-operator.%s" $component -}}
{{- $_ := include $settings (dict "root" .root "container" $container) -}}
{{- with $values.logLevel -}}
{{- $_ := set $container "env" (append ($container.env | default list) (dict "name" "RUST_LOG" "value" .)) -}}
{{- end -}}
{{- toJson $deployment -}}
{{- end -}}

{{/* What the values say to the controller. Arguments: root, container. */}}
{{- define "model-operator.controller" -}}
{{- $values := .root.Values -}}
{{- $env := dict -}}
{{- if eq $values.downloads.downloader "loader" -}}
{{- $_ := set $env "MODEL_CONTROLLER_LOADER_IMAGE" (include "model-operator.image" (dict "root" .root "image" $values.downloads.image)) -}}
{{- end -}}
{{- with $values.downloads.maxConcurrent -}}
{{- $_ := set $env "MODEL_CONTROLLER_MAX_CONCURRENT_DOWNLOADS" (int . | toString) -}}
{{- end -}}
{{- if ne (int $values.downloads.maxLogReadsPerSecond) 10 -}}
{{- $_ := set $env "MODEL_CONTROLLER_MAX_LOG_READS_PER_SECOND" (int $values.downloads.maxLogReadsPerSecond | toString) -}}
{{- end -}}
{{- with $values.downloads.maxConcurrentPerHost -}}
{{- $_ := set $env "MODEL_CONTROLLER_MAX_CONCURRENT_DOWNLOADS_PER_HOST" (int . | toString) -}}
{{- end -}}
{{- if eq (include "model-operator.maker" .root) "controller" -}}
{{- $_ := set $env "MODEL_CONTROLLER_WEBHOOK_CERTIFICATES" "true" -}}
{{- end -}}
{{- with $values.watchNamespaces -}}
{{- $_ := set $env "MODEL_CONTROLLER_WATCH_NAMESPACES" (join "," .) -}}
{{- end -}}
{{- with include "model-operator.download-env" .root -}}
{{- $_ := set $env "MODEL_CONTROLLER_DOWNLOAD_ENV" . -}}
{{- end -}}
{{- with $values.airGap.imagePullSecrets -}}
{{- $_ := set $env "MODEL_CONTROLLER_DOWNLOAD_IMAGE_PULL_SECRETS" (join "," .) -}}
{{- end -}}
{{- with $values.airGap.caConfigMap -}}
{{- $_ := set $env "MODEL_CONTROLLER_DOWNLOAD_CA_CONFIG_MAP" . -}}
{{- end -}}
{{- $list := list -}}
{{- range .container.env -}}
{{- if ne .name "MODEL_CONTROLLER_LOADER_IMAGE" -}}{{- $list = append $list . -}}{{- end -}}
{{- end -}}
{{- range $name, $value := $env -}}
{{- $list = append $list (dict "name" $name "value" $value) -}}
{{- end -}}
{{- $_ := set .container "env" $list -}}
{{- end -}}

{{/* The variables of download containers, NAME=VALUE, one a line. */}}
{{- define "model-operator.download-env" -}}
{{- $airGap := .Values.airGap -}}
{{- $env := dict "HF_ENDPOINT" $airGap.hubEndpoint "AWS_ENDPOINT_URL" $airGap.s3Endpoint -}}
{{- /* Tools differ in which of the two they read. */ -}}
{{- range $name, $value := dict "http_proxy" $airGap.proxy.http "https_proxy" $airGap.proxy.https "no_proxy" $airGap.proxy.noProxy -}}
{{- $_ := set $env $name $value -}}
{{- $_ := set $env (upper $name) $value -}}
{{- end -}}
{{- $lines := list -}}
{{- range $name, $value := merge dict .Values.downloads.env $env -}}
{{- if $value -}}{{- $lines = append $lines (printf "%s=%s" $name $value) -}}{{- end -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{/* What the values say to the webhook, where that is not what it does anyway. Arguments: root, container. */}}
{{- define "model-operator.webhook" -}}
{{- $args := .container.args -}}
{{- if eq .root.Values.downloads.downloader "stock" -}}
{{- $args = without $args "--downloader=loader" -}}
{{- end -}}
{{- with .root.Values.webhook.whenNotReady -}}
{{- if ne . "deny" -}}
{{- $args = append $args (printf "--when-not-ready=%s" .) -}}
{{- end -}}
{{- end -}}
{{- with .root.Values.watchNamespaces -}}
{{- $args = append $args (printf "--watch-namespaces=%s" (join "," .)) -}}
{{- end -}}
{{- $_ := set .container "args" $args -}}
{{- end -}}
