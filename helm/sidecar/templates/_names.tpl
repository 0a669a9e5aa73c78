{{/*
Every template of this chart is called with a context: this chart's own, `.Subcharts.sidecar` from the chart of an app,
or one that the injector's chart puts together. They use `.Values .Release .Chart .Capabilities`, objects also `.Files`.
*/}}

{{/* The name of everything that belongs to one sidecar: <release>-sidecar. */}}
{{- define "sidecar.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels of objects. */}}
{{- define "sidecar.labels" -}}
app.kubernetes.io/name: sidecar
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: sidecar
app.kubernetes.io/managed-by: {{ .Release.Service | default "Helm" | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* Labels for the pods: by them the Services, the NetworkPolicy and the monitors find the pods that have this sidecar. */}}
{{- define "sidecar.podLabels" -}}
{{- if .Values.podSelector -}}
{{- toYaml .Values.podSelector -}}
{{- else -}}
sidecar.dev/name: {{ include "sidecar.fullname" . | quote }}
{{- end -}}
{{- end -}}

{{/* The name of the ConfigMap that holds sidecar.toml. */}}
{{- define "sidecar.configMapName" -}}
{{- default (printf "%s-config" (include "sidecar.fullname" .)) .Values.existingConfigMap -}}
{{- end -}}

{{/* The name for the pod's serviceAccountName; "default" is Kubernetes' own. */}}
{{- define "sidecar.serviceAccountName" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "sidecar.fullname" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "sidecar.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}
