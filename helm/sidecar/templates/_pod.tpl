{{/* What goes into a pod. */}}

{{/* The container. Native: the first of initContainers. Otherwise: one of containers. */}}
{{- define "sidecar.container" -}}
{{- $config := include "sidecar.config" . | fromJson -}}
name: sidecar
image: {{ include "sidecar.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if .Values.nativeSidecar }}
restartPolicy: Always
{{- end }}
args: ["run", "-c", "/etc/sidecar/sidecar.toml"]
env:
  # For the audit log: who.
  - name: POD_NAME
    valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}
  - name: POD_SERVICE_ACCOUNT
    valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.serviceAccountName}}
  {{- if .Values.aws.region }}
  - name: AWS_REGION
    value: {{ .Values.aws.region | quote }}
  {{- end }}
  {{- if .Values.aws.roleArn }}
  - name: AWS_ROLE_ARN
    value: {{ .Values.aws.roleArn | quote }}
  - name: AWS_WEB_IDENTITY_TOKEN_FILE
    value: /var/run/tokens/aws
  {{- end }}
  {{- if .Values.aws.podIdentity }}
  - name: AWS_CONTAINER_CREDENTIALS_FULL_URI
    value: http://169.254.170.23/v1/credentials
  - name: AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
    value: /var/run/tokens/aws
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: telemetry
    containerPort: {{ include "sidecar.telemetryPort" . }}
    protocol: TCP
  {{- if include "sidecar.hasWebhooks" . }}
  - name: webhooks
    containerPort: {{ include "sidecar.webhooksPort" . }}
    protocol: TCP
  {{- end }}
{{- range $probe, $path := dict "startupProbe" "/readyz" "readinessProbe" "/readyz" "livenessProbe" "/livez" }}
{{ $probe }}:
  httpGet: {path: {{ $path }}, port: telemetry, scheme: HTTP}
  {{- toYaml (get $.Values.probes (trimSuffix "Probe" $probe)) | nindent 2 }}
{{- end }}
{{- if not .Values.nativeSidecar }}
lifecycle:
  preStop:
    # All containers get SIGTERM at once: this one waits while the app finishes, which goes on calling meanwhile.
    {{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
    sleep: {seconds: {{ .Values.appShutdownSeconds | int }}}
    {{- else }}
    exec: {command: ["sleep", {{ .Values.appShutdownSeconds | int | quote }}]}
    {{- end }}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: {{ .Values.runAsUser | int64 }}
  runAsGroup: {{ .Values.runAsGroup | int64 }}
  seccompProfile: {type: RuntimeDefault}
# A config that is refused at the start is told on stderr; so it stands in `kubectl describe pod`, too.
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  # The whole directory: with subPath Kubernetes would never update the file.
  - {name: sidecar-config, mountPath: /etc/sidecar, readOnly: true}
  {{- if include "sidecar.hasState" . }}
  - {name: sidecar-state, mountPath: /var/lib/sidecar}
  {{- end }}
  {{- range $name, $_ := include "sidecar.present" .Values.secretVolumes | fromJson }}
  - {name: "sidecar-secret-{{ $name }}", mountPath: "/etc/sidecar-secrets/{{ $name }}", readOnly: true}
  {{- end }}
  {{- if .Values.socket.enabled }}
  - {name: sidecar-socket, mountPath: /run/sidecar}
  {{- end }}
  {{- if include "sidecar.tokens" . | fromJson }}
  - {name: sidecar-tokens, mountPath: /var/run/tokens, readOnly: true}
  {{- end }}
  # What is mounted here keeps Kubernetes from mounting its own token.
  - {name: sidecar-api-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The volumes of the pod; that of a claim template is the StatefulSet's to make. */}}
{{- define "sidecar.volumes" -}}
- name: sidecar-config
  configMap:
    name: {{ include "sidecar.configMapName" . | quote }}
    defaultMode: 292
    {{- if contains "/" (include "sidecar.present" .Values.files | fromJson | keys | join "") }}
    items:
      - {key: sidecar.toml, path: sidecar.toml}
      {{- range $path, $_ := include "sidecar.present" .Values.files | fromJson }}
      - {key: {{ replace "/" "--" $path | quote }}, path: {{ $path | quote }}}
      {{- end }}
    {{- end }}
{{- if include "sidecar.hasState" . }}
{{- if eq .Values.persistence.kind "emptyDir" }}
- name: sidecar-state
  emptyDir:
    {{- with .Values.persistence.size }}
    sizeLimit: {{ . | quote }}
    {{- else }} {}
    {{- end }}
{{- else if eq .Values.persistence.kind "existingClaim" }}
- name: sidecar-state
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.claimName | quote }}
{{- end }}
{{- end }}
{{- $top := . }}
{{- range $name, $volume := include "sidecar.present" .Values.secretVolumes | fromJson }}
- name: sidecar-secret-{{ $name }}
  {{- if $volume.secret }}
  secret:
    defaultMode: 292
    {{- toYaml $volume.secret | nindent 4 }}
  {{- else if $volume.projected }}
  projected:
    defaultMode: 292
    {{- toYaml $volume.projected | nindent 4 }}
  {{- else }}
  csi:
    driver: {{ $volume.csi.driver | default "secrets-store.csi.k8s.io" | quote }}
    readOnly: true
    volumeAttributes:
      secretProviderClass: {{ $volume.csi.secretProviderClass | default (printf "%s-%s" (include "sidecar.fullname" $top) $name) | quote }}
    {{- with $volume.csi.nodePublishSecretName }}
    nodePublishSecretRef: {name: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}
{{- if .Values.socket.enabled }}
- name: sidecar-socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}
{{- $tokens := include "sidecar.tokens" . | fromJson }}
{{- if $tokens }}
- name: sidecar-tokens
  projected:
    defaultMode: 292
    sources:
      {{- range $name, $token := $tokens }}
      - serviceAccountToken:
          path: {{ $name | quote }}
          audience: {{ $token.audience | quote }}
          expirationSeconds: {{ $token.expirationSeconds | default 3600 | int64 }}
      {{- end }}
{{- end }}
- name: sidecar-api-token
  {{- if include "sidecar.wantsApiToken" . }}
  # A Vault is asked with it (config.secrets); the app's containers do not see this one.
  projected:
    defaultMode: 292
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: {{ .Values.vaultToken.expirationSeconds | int64 }}
          {{- with .Values.vaultToken.audience }}
          audience: {{ . | quote }}
          {{- end }}
  {{- else }}
  # No token: no secret store asks for one.
  downwardAPI:
    defaultMode: 292
    items:
      - path: namespace
        fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}
  {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The tokens at /var/run/tokens, as JSON: those of the values, and the one that AWS wants. */}}
{{- define "sidecar.tokens" -}}
{{- $tokens := include "sidecar.present" .Values.tokens | fromJson -}}
{{- if .Values.aws.roleArn -}}
{{- $_ := set $tokens "aws" (dict "audience" .Values.aws.audience) -}}
{{- else if .Values.aws.podIdentity -}}
{{- $_ := set $tokens "aws" (dict "audience" "pods.eks.amazonaws.com") -}}
{{- end -}}
{{- toJson $tokens -}}
{{- end -}}

{{/* For a StatefulSet's volumeClaimTemplates; empty where there is nothing to claim. */}}
{{- define "sidecar.volumeClaimTemplates" -}}
{{- if and (include "sidecar.hasState" .) (eq .Values.persistence.kind "claimTemplate") -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: sidecar-state
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .Values.persistence.storageClassName }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ .Values.persistence.size | quote }}
{{- end -}}
{{- end -}}

{{/* For the pod template's annotations. */}}
{{- define "sidecar.podAnnotations" -}}
{{- $sum := include "sidecar.restartChecksum" . -}}
{{- if .Values.rollOnChange -}}{{- $sum = include "sidecar.checksum" . -}}{{- end -}}
{{- toYaml (merge (dict "sidecar.dev/checksum" $sum) .Values.podAnnotations) -}}
{{- end -}}

{{/* For the volumeMounts of the app's containers: the socket, if it is on. */}}
{{- define "sidecar.appVolumeMounts" -}}
{{- if .Values.socket.enabled -}}
- name: sidecar-socket
  mountPath: /run/sidecar
  readOnly: true
{{- end -}}
{{- end -}}

{{/* For the pod's securityContext where it says no fsGroup of its own: a claim and the socket need a common group. */}}
{{- define "sidecar.podSecurityContext" -}}
{{- if or .Values.socket.enabled (and (include "sidecar.hasState" .) (ne .Values.persistence.kind "emptyDir")) -}}
fsGroup: {{ .Values.runAsGroup | int64 }}
fsGroupChangePolicy: OnRootMismatch
{{- end -}}
{{- end -}}

{{/* For the pod's terminationGracePeriodSeconds; refused where it is too short for app and sidecar. */}}
{{- define "sidecar.terminationGracePeriodSeconds" -}}
{{- $_ := include "sidecar.config" . -}}
{{- .Values.terminationGracePeriodSeconds | int -}}
{{- end -}}
