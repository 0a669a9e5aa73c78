{{/* What Prometheus' operator and Grafana read. */}}

{{- define "sidecar.podMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "" "labels" .Values.podMonitor.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "sidecar.podLabels" . | nindent 6 }}
  podMetricsEndpoints:
    - port: telemetry
      path: /metrics
      interval: {{ .Values.podMonitor.interval | quote }}
{{- end -}}

{{/* Headless, for the ServiceMonitor alone. Pods that are not ready are read, too: then one wants to know most. */}}
{{- define "sidecar.telemetryService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "-telemetry" "labels" (dict "sidecar.dev/telemetry" (include "sidecar.fullname" .))) | nindent 2 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "sidecar.podLabels" . | nindent 4 }}
  ports:
    - name: telemetry
      port: {{ include "sidecar.telemetryPort" . }}
      targetPort: {{ include "sidecar.telemetryPort" . }}
      protocol: TCP
{{- end -}}

{{- define "sidecar.serviceMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "" "labels" .Values.serviceMonitor.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      sidecar.dev/telemetry: {{ include "sidecar.fullname" . | quote }}
  endpoints:
    - port: telemetry
      path: /metrics
      interval: {{ .Values.serviceMonitor.interval | quote }}
      relabelings:
        # The operator says by `service` which Service led to the pod, and our metrics whom a call was for: ours would be
        # renamed to exported_service, and no alert would know a vendor any more.
        - {action: labeldrop, regex: service}
{{- end -}}

{{- define "sidecar.prometheusRule" -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "" "labels" .Values.alerts.labels) | nindent 2 }}
spec:
  groups:
    {{- include "sidecar.alertGroups" (dict "text" (.Files.Get "files/alerts.yaml") "alerts" .Values.alerts) | nindent 4 }}
{{- end -}}

{{/* The groups of a file with alerts, in which three things are the values' to say. {text, alerts}. */}}
{{- define "sidecar.alertGroups" -}}
{{- $alerts := .alerts -}}
{{- $text := .text | replace "https://runbook.invalid/runbook.md" $alerts.runbookUrl -}}
{{- $groups := list -}}
{{- range $group := ($text | replace "job=~\".+\"" $alerts.selector | fromYaml).groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- if not (has (get $rule "alert") $alerts.leaveOut) -}}{{- $rules = append $rules $rule -}}{{- end -}}
{{- end -}}
{{- if $rules -}}{{- $groups = append $groups (set $group "rules" $rules) -}}{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{- define "sidecar.dashboard" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "-dashboard" "labels" .Values.dashboard.labels "annotations" .Values.dashboard.annotations) | nindent 2 }}
data:
  sidecar.json: |
    {{- .Files.Get "files/dashboard.json" | trim | nindent 4 }}
{{- end -}}
