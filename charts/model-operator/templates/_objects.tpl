{{/*
The objects of one file in generated/, as JSON: {"objects": […]}. `make manifests` writes those files and config/ from the
same Rust types, so flags, ports, rights and rules are said once. Here they move to the release's namespace and get
the release's labels. By way of JSON, where every string is quoted: a namespace may be called 123.
Arguments: root, path.
*/}}
{{- define "model-operator.objects" -}}
{{- $objects := list -}}
{{- range splitList "\n---\n" (.root.Files.Get .path) -}}
{{- $object := . | fromYaml | toJson | replace "model-system" $.root.Release.Namespace | fromJson -}}
{{- $labels := dict "helm.sh/chart" (printf "%s-%s" $.root.Chart.Name $.root.Chart.Version | replace "+" "_") "app.kubernetes.io/instance" $.root.Release.Name "app.kubernetes.io/version" $.root.Chart.AppVersion "app.kubernetes.io/managed-by" $.root.Release.Service -}}
{{- $_ := set $object.metadata "labels" (merge dict ($object.metadata.labels | default dict) $labels) -}}
{{- $objects = append $objects $object -}}
{{- end -}}
{{- dict "objects" $objects | toJson -}}
{{- end -}}

{{/* An image's full name. Arguments: root, image. */}}
{{- define "model-operator.image" -}}
{{- $name := list .root.Values.airGap.registry .image.repository | compact | join "/" -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}
