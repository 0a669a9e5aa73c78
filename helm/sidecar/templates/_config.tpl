{{/* How many pods can run at once: `replicas`, else what the config says, else 1. For spec.replicas or maxReplicas, too. */}}
{{- define "sidecar.replicas" -}}
{{- $said := dig "sidecar" "replicas" nil (include "sidecar.given" . | fromJson) -}}
{{- .Values.replicas | default $said | default 1 | int -}}
{{- end -}}

{{/*
A map without what is null, at any depth: JSON. So values of an environment take away what is in common. Helm does it alone
only for what stands in this chart's own values.yaml.
*/}}
{{- define "sidecar.present" -}}
{{- $found := dict -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $found $key (include "sidecar.present" $value | fromJson) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $found $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* `config`, as it was given, without what is null: JSON. */}}
{{- define "sidecar.given" -}}
{{- include "sidecar.present" (.Values.config | default dict) -}}
{{- end -}}

{{/* The config with what the chart knows better filled in, as JSON. All that is wrong with the values is told at once. */}}
{{- define "sidecar.config" -}}
{{- $config := include "sidecar.given" . | fromJson -}}
{{- $own := get $config "sidecar" | default dict -}}
{{- $_ := set $config "sidecar" (set $own "replicas" (include "sidecar.replicas" . | int)) -}}
{{- $secrets := get $config "secrets" | default dict -}}
{{- range $name, $_ := include "sidecar.present" .Values.secretVolumes | fromJson -}}
{{- if not (get $secrets $name) -}}
{{- $_ := set $secrets $name (dict "kind" "file" "path" (printf "/etc/sidecar-secrets/%s" $name)) -}}
{{- end -}}
{{- end -}}
{{- if $secrets -}}{{- $_ := set $config "secrets" $secrets -}}{{- end -}}
{{- $store := get $config "store" | default dict -}}
{{- if and (include "sidecar.hasState" .) (not (get $store "path")) -}}
{{- $_ := set $config "store" (set $store "path" "/var/lib/sidecar/state.db") -}}
{{- end -}}
{{- $listen := get $config "listen" | default dict -}}
{{- if and .Values.socket.enabled (not (get $listen "egress")) -}}
{{- $doors := list "127.0.0.1:4000" "unix:/run/sidecar/egress.sock" -}}
{{- $_ := set $config "listen" (set $listen "egress" $doors) -}}
{{- end -}}
{{- $context := dict "Values" .Values "Capabilities" .Capabilities "config" $config "injected" .Injected -}}
{{- $problems := include "sidecar.problems" $context | fromJsonArray -}}
{{- if $problems -}}
{{- fail (printf "%s: these values do not fit together:\n%s" (.Where | default .Chart.Name) (join "\n" $problems)) -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* sidecar.toml, as it is mounted. */}}
{{- define "sidecar.toml" -}}
{{- $config := include "sidecar.config" . | fromJson -}}
# From the values under `config`, by the chart {{ .Chart.Name }} {{ .Chart.Version }}. Change it there.

{{ include "sidecar.toml.table" (dict "table" $config "path" list "names" list "routeOrder" (include "sidecar.present" .Values.routeOrder | fromJson)) }}
{{- end -}}

{{/* The ConfigMap. A file of a folder has a key with two dashes: no key holds a slash. */}}
{{- define "sidecar.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "sidecar.configMapName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
  labels:
    {{- include "sidecar.labels" . | nindent 4 }}
data:
  sidecar.toml: |
    {{- include "sidecar.toml" . | nindent 4 }}
  {{- range $path, $text := include "sidecar.present" .Values.files | fromJson }}
  {{ replace "/" "--" $path | quote }}: {{ $text | toJson }}
  {{- end }}
{{- end -}}

{{/* Changes with everything that is mounted from the ConfigMap. */}}
{{- define "sidecar.checksum" -}}
{{- printf "%s\n%s" (include "sidecar.toml" .) (include "sidecar.present" .Values.files) | sha256sum -}}
{{- end -}}

{{/* Changes with what the running sidecar does not take over by a reload: the store, and the environment's name. */}}
{{- define "sidecar.restartChecksum" -}}
{{- $config := include "sidecar.config" . | fromJson -}}
{{- list $config.store $config.sidecar.environment | toJson | sha256sum -}}
{{- end -}}

{{/* The port of an address such as "0.0.0.0:4002" or "[::]:4002". */}}
{{- define "sidecar.port" -}}
{{- regexFind "[0-9]+$" . | int -}}
{{- end -}}

{{- define "sidecar.telemetryPort" -}}
{{- include "sidecar.port" (dig "listen" "telemetry" "0.0.0.0:4002" (include "sidecar.given" . | fromJson)) -}}
{{- end -}}

{{- define "sidecar.webhooksPort" -}}
{{- include "sidecar.port" (dig "listen" "webhooks" "0.0.0.0:4003" (include "sidecar.given" . | fromJson)) -}}
{{- end -}}

{{/* "yes" where something is kept on disk. */}}
{{- define "sidecar.hasState" -}}
{{- $store := get (include "sidecar.given" . | fromJson) "store" | default dict -}}
{{- if or (eq (get $store "kind" | default "memory") "sqlite") (get $store "fallback") -}}yes{{- end -}}
{{- end -}}

{{/* "yes" where vendors call. */}}
{{- define "sidecar.hasWebhooks" -}}
{{- if get (include "sidecar.given" . | fromJson) "webhooks" -}}yes{{- end -}}
{{- end -}}

{{/* "yes" where a Vault wants the token of the pod's service account, from the usual place. */}}
{{- define "sidecar.wantsApiToken" -}}
{{- range $name, $store := get (include "sidecar.given" . | fromJson) "secrets" | default dict -}}
{{- if kindIs "map" $store -}}
{{- $auth := get $store "auth" | default dict -}}
{{- $file := get $auth "token_file" | default "/var/run/secrets/kubernetes.io/serviceaccount/token" -}}
{{- if and (eq (get $auth "method" | default "") "kubernetes") (hasPrefix "/var/run/secrets/kubernetes.io/serviceaccount/" $file) -}}
yes
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Seconds of "25s", "1m" or "250ms", as the config has them. */}}
{{- define "sidecar.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1 "m" 60 "min" 60 "h" 3600 "d" 86400 -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[a-z]+$" .) | default 1) -}}
{{- end -}}

{{/* Bytes of "256MiB", as the config has them, and of "1Gi", as Kubernetes has them. */}}
{{- define "sidecar.bytes" -}}
{{- $powers := dict "k" 1 "m" 2 "g" 3 "t" 4 -}}
{{- $unit := regexFind "[A-Za-z]+$" . -}}
{{- $step := ternary 1024 1000 (contains "i" $unit) -}}
{{- $bytes := regexFind "^[0-9.]+" . | float64 -}}
{{- range $_ := until (get $powers (lower $unit | trunc 1) | default 0 | int) -}}
{{- $bytes = mulf $bytes $step -}}
{{- end -}}
{{- $bytes | int64 -}}
{{- end -}}
