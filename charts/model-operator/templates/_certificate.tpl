{{/* Who is to make the webhook's certificate. */}}
{{- define "model-operator.maker" -}}
{{- $certificates := .Values.certificates -}}
{{- ternary "cert-manager" (ternary "controller" "helm" $certificates.selfManaged) $certificates.certManager.enabled -}}
{{- end -}}

{{/*
Who made the webhook's certificate: helm, controller, cert-manager, or nobody. Each leaves its mark on the Secret.
Argument: the Secret.
*/}}
{{- define "model-operator.certificate-maker" -}}
{{- $data := (get . "data") | default dict -}}
{{- $annotations := (get (get . "metadata" | default dict) "annotations") | default dict -}}
{{- $renewed := get $annotations "models.main-currents.news/renew-after" -}}
{{- if not (and (get $data "ca.crt") (get $data "tls.crt") (get $data "tls.key")) -}}
nobody
{{- else if get $annotations "cert-manager.io/certificate-name" -}}
cert-manager
{{- else if and $renewed (ne $renewed "never") -}}
controller
{{- else -}}
helm
{{- end -}}
{{- end -}}

{{/* What the API server trusts the webhook by now, base64. Arguments: kind. */}}
{{- define "model-operator.trusted" -}}
{{- $registration := lookup "admissionregistration.k8s.io/v1" .kind "" "model-webhook" -}}
{{- range get $registration "webhooks" | default list | first | tuple -}}
{{- if . -}}{{- get .clientConfig "caBundle" -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The webhook's certificate where Helm makes it, base64, as JSON: ca.crt, tls.crt, tls.key. The one that Helm made before is
kept. One of another maker is not: it ends long before ten years, and nobody would renew it.
*/}}
{{- define "model-operator.certificate" -}}
{{- $found := lookup "v1" "Secret" .Release.Namespace "model-webhook-tls" -}}
{{- if eq (include "model-operator.certificate-maker" $found) "helm" -}}
{{- pick $found.data "ca.crt" "tls.crt" "tls.key" | toJson -}}
{{- else -}}
{{- $authority := genCAWithKey "model-webhook" 3650 (genPrivateKey "ecdsa") -}}
{{- $host := printf "model-webhook.%s.svc" .Release.Namespace -}}
{{- $served := genSignedCertWithKey $host nil (list $host) 3650 $authority (genPrivateKey "ecdsa") -}}
{{- dict "ca.crt" ($authority.Cert | b64enc) "tls.crt" ($served.Cert | b64enc) "tls.key" ($served.Key | b64enc) | toJson -}}
{{- end -}}
{{- end -}}
