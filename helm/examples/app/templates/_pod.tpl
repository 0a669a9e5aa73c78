{{- define "app.labels" -}}
app.kubernetes.io/name: app
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The pod's metadata and spec. {top, sidecar: the subchart, args and restartPolicy: of a Job}. */}}
{{- define "app.podTemplate" -}}
{{- $sidecar := .sidecar -}}
metadata:
  labels:
    {{- include "app.labels" .top | nindent 4 }}
    {{- include "sidecar.podLabels" $sidecar | nindent 4 }}
  annotations:
    {{- include "sidecar.podAnnotations" $sidecar | nindent 4 }}
spec:
  serviceAccountName: {{ include "sidecar.serviceAccountName" $sidecar | quote }}
  # The app asks the API server for nothing; the sidecar gets a token of its own where a secret store wants one.
  automountServiceAccountToken: false
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "sidecar.terminationGracePeriodSeconds" $sidecar }}
  securityContext:
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
    {{- include "sidecar.podSecurityContext" $sidecar | nindent 4 }}
  {{- if $sidecar.Values.nativeSidecar }}
  initContainers:
    # First, so that further init containers can call through it.
    - {{- include "sidecar.container" $sidecar | nindent 6 }}
  {{- end }}
  containers:
    - name: app
      image: {{ printf "%s:%s" .top.Values.image.repository .top.Values.image.tag | quote }}
      {{- with .args }}
      args: {{ toJson . }}
      {{- end }}
      env:
        - {name: CRM_URL, value: "http://localhost:4000/crm"}
        - {name: STRIPE_URL, value: "http://localhost:4000/stripe"}
      {{- if not .restartPolicy }}
      ports:
        - {name: http, containerPort: 8080}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
        runAsUser: 10001
      {{- with include "sidecar.appVolumeMounts" $sidecar }}
      volumeMounts:
        {{- . | nindent 8 }}
      {{- end }}
    {{- if not $sidecar.Values.nativeSidecar }}
    - {{- include "sidecar.container" $sidecar | nindent 6 }}
    {{- end }}
  volumes:
    {{- include "sidecar.volumes" $sidecar | nindent 4 }}
{{- end -}}
