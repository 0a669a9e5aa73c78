{{/* Every object around the pods: off unless the values say so, but for the ConfigMap. */}}
{{- define "sidecar.objects" -}}
{{- $top := . -}}
{{- $objects := list -}}
{{- if not .Values.existingConfigMap -}}{{- $objects = append $objects (include "sidecar.configMap" .) -}}{{- end -}}
{{- if .Values.serviceAccount.create -}}{{- $objects = append $objects (include "sidecar.serviceAccount" .) -}}{{- end -}}
{{- range $name, $volume := include "sidecar.present" .Values.secretVolumes | fromJson -}}
{{- if dig "csi" "provider" "" $volume -}}
{{- $objects = append $objects (include "sidecar.secretProviderClass" (dict "name" $name "csi" $volume.csi "top" $top)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.webhooks.service.enabled -}}{{- $objects = append $objects (include "sidecar.webhooksService" .) -}}{{- end -}}
{{- if .Values.webhooks.ingress.enabled -}}{{- $objects = append $objects (include "sidecar.webhooksIngress" .) -}}{{- end -}}
{{- if .Values.webhooks.httpRoute.enabled -}}{{- $objects = append $objects (include "sidecar.webhooksRoute" .) -}}{{- end -}}
{{- if .Values.networkPolicy.enabled -}}{{- $objects = append $objects (include "sidecar.networkPolicy" .) -}}{{- end -}}
{{- if .Values.podMonitor.enabled -}}{{- $objects = append $objects (include "sidecar.podMonitor" .) -}}{{- end -}}
{{- if .Values.serviceMonitor.enabled -}}
{{- $objects = append $objects (include "sidecar.telemetryService" .) -}}
{{- $objects = append $objects (include "sidecar.serviceMonitor" .) -}}
{{- end -}}
{{- if .Values.alerts.enabled -}}{{- $objects = append $objects (include "sidecar.prometheusRule" .) -}}{{- end -}}
{{- if .Values.dashboard.enabled -}}{{- $objects = append $objects (include "sidecar.dashboard" .) -}}{{- end -}}
{{- join "\n---\n" $objects -}}
{{- end -}}

{{/* Name, namespace and labels of an object. {top, suffix: "-webhooks", labels, annotations}. */}}
{{- define "sidecar.metadata" -}}
name: {{ printf "%s%s" (include "sidecar.fullname" .top) .suffix | quote }}
namespace: {{ .top.Release.Namespace | quote }}
labels:
  {{- include "sidecar.labels" .top | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sidecar.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "sidecar.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
  labels:
    {{- include "sidecar.labels" . | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# A container that needs a token gets one of its own, with an audience and an end.
automountServiceAccountToken: false
{{- end -}}

{{- define "sidecar.secretProviderClass" -}}
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  {{- include "sidecar.metadata" (dict "top" .top "suffix" (printf "-%s" .name)) | nindent 2 }}
spec:
  provider: {{ .csi.provider }}
  parameters:
    {{- range $key, $value := .csi.parameters }}
    {{ $key | quote }}: {{ $value | toJson }}
    {{- end }}
{{- end -}}
