{{/*
The same objects with the rights of each ClusterRole in these namespaces only, as JSON: {"objects": […]}. What belongs to no
namespace, storage classes and registrations, stays a ClusterRole. Roles come by a name of their own, because the
operator's namespace may be one of them. Arguments: objects, namespaces.
*/}}
{{- define "model-operator.narrowed" -}}
{{- $objects := list -}}
{{- $wide := dict -}}
{{- range .objects -}}
{{- $object := . -}}
{{- $name := printf "%s-models" .metadata.name -}}
{{- if eq .kind "ClusterRole" -}}
{{- $stay := list -}}{{- $move := list -}}
{{- range .rules -}}
{{- if or (has "storage.k8s.io" .apiGroups) (has "admissionregistration.k8s.io" .apiGroups) -}}
{{- $stay = append $stay . -}}
{{- else -}}
{{- $move = append $move . -}}
{{- end -}}
{{- end -}}
{{- range $.namespaces -}}
{{- $metadata := dict "name" $name "namespace" . "labels" $object.metadata.labels -}}
{{- $objects = append $objects (dict "apiVersion" $object.apiVersion "kind" "Role" "metadata" $metadata "rules" $move) -}}
{{- end -}}
{{- if $stay -}}
{{- $_ := set $wide .metadata.name true -}}
{{- $objects = append $objects (set $object "rules" $stay) -}}
{{- end -}}
{{- else if eq .kind "ClusterRoleBinding" -}}
{{- range $.namespaces -}}
{{- $metadata := dict "name" $name "namespace" . "labels" $object.metadata.labels -}}
{{- $ref := dict "apiGroup" $object.roleRef.apiGroup "kind" "Role" "name" $name -}}
{{- $objects = append $objects (dict "apiVersion" $object.apiVersion "kind" "RoleBinding" "metadata" $metadata "roleRef" $ref "subjects" $object.subjects) -}}
{{- end -}}
{{- if hasKey $wide .roleRef.name -}}
{{- $objects = append $objects $object -}}
{{- end -}}
{{- else -}}
{{- $objects = append $objects $object -}}
{{- end -}}
{{- end -}}
{{- dict "objects" $objects | toJson -}}
{{- end -}}
