{{/*
The webhook's certificate where Helm makes it, base64, as JSON: ca.crt, tls.crt, tls.key. The one in the cluster is kept.
*/}}
{{- define "model-operator.certificate" -}}
{{- $kept := lookup "v1" "Secret" .Release.Namespace "model-webhook-tls" -}}
{{- $data := (get $kept "data") | default dict -}}
{{- if and (get $data "ca.crt") (get $data "tls.crt") (get $data "tls.key") -}}
{{- pick $data "ca.crt" "tls.crt" "tls.key" | toJson -}}
{{- else -}}
{{- $authority := genCAWithKey "model-webhook" 3650 (genPrivateKey "ecdsa") -}}
{{- $host := printf "model-webhook.%s.svc" .Release.Namespace -}}
{{- $served := genSignedCertWithKey $host nil (list $host) 3650 $authority (genPrivateKey "ecdsa") -}}
{{- dict "ca.crt" ($authority.Cert | b64enc) "tls.crt" ($served.Cert | b64enc) "tls.key" ($served.Key | b64enc) | toJson -}}
{{- end -}}
{{- end -}}
