{{/*
What a schema cannot say: values that do not fit together. A JSON list of sentences, empty when all is well.
{Values, Capabilities, config: filled in, injected: whether pods get it from the injector}.
*/}}
{{- define "sidecar.problems" -}}
{{- $values := .Values -}}
{{- $config := .config -}}
{{- $problems := list -}}

{{- $said := dig "sidecar" "replicas" nil (include "sidecar.present" ($values.config | default dict) | fromJson) -}}
{{- if and $said $values.replicas (ne (int $said) (int $values.replicas)) -}}
{{- $problems = append $problems (printf "replicas: %d, but config.sidecar.replicas is %d; say it once, here" (int $values.replicas) (int $said)) -}}
{{- end -}}

{{- /* Time to end. */ -}}
{{- $drain := include "sidecar.seconds" (dig "sidecar" "drain_timeout" "25s" $config) | float64 -}}
{{- $needed := addf $values.appShutdownSeconds $drain 5 -}}
{{- if gt $needed (float64 $values.terminationGracePeriodSeconds) -}}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds: %v is too short: the app may take %v s (appShutdownSeconds), then the sidecar drains for up to %v s (config.sidecar.drain_timeout) and needs 5 s to close; write at least %v, or shorten one of them" (int $values.terminationGracePeriodSeconds) $values.appShutdownSeconds $drain (ceil $needed)) -}}
{{- end -}}

{{- /* Native sidecars. */ -}}
{{- if and $values.nativeSidecar (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $problems = append $problems (printf "nativeSidecar: this cluster is Kubernetes %s, and restartable init containers are on from 1.29; write false" .Capabilities.KubeVersion.Version) -}}
{{- end -}}

{{- /* The doors that the kubelet and Services reach. */ -}}
{{- range $door := list "telemetry" "webhooks" -}}
{{- $address := dig "listen" $door "0.0.0.0:1" $config -}}
{{- if or (hasPrefix "unix:" $address) (hasPrefix "127." $address) (hasPrefix "localhost" $address) (hasPrefix "[::1]" $address) -}}
{{- $problems = append $problems (printf "config.listen.%s: %s cannot be reached from outside of the pod, by probes or by anybody; write 0.0.0.0:PORT, or [::]:PORT" $door $address) -}}
{{- end -}}
{{- end -}}
{{- $doors := list (dict "path" "config.listen.admin" "address" (dig "listen" "admin" "127.0.0.1:4001" $config)) -}}
{{- $doors = append $doors (dict "path" "config.listen.telemetry" "address" (dig "listen" "telemetry" "0.0.0.0:4002" $config)) -}}
{{- if get $config "webhooks" -}}
{{- $doors = append $doors (dict "path" "config.listen.webhooks" "address" (dig "listen" "webhooks" "0.0.0.0:4003" $config)) -}}
{{- end -}}
{{- range $index, $address := dig "listen" "egress" (list "127.0.0.1:4000") $config -}}
{{- $doors = append $doors (dict "path" (printf "config.listen.egress[%d]" $index) "address" $address) -}}
{{- end -}}
{{- range $index, $door := $doors -}}
{{- range $other := slice $doors 0 $index -}}
{{- $port := regexFind "[0-9]+$" $door.address -}}
{{- $hosts := list (trimSuffix $port $door.address) (trimSuffix $port $other.address) -}}
{{- $isOne := or (eq (first $hosts) (last $hosts)) (has "0.0.0.0:" $hosts) (has "[::]:" $hosts) -}}
{{- if and (not (hasPrefix "unix:" $door.address)) (not (hasPrefix "unix:" $other.address)) $port (ne $port "0") (eq $port (regexFind "[0-9]+$" $other.address)) $isOne -}}
{{- $problems = append $problems (printf "%s: %s is already taken by %s; each listener has its own" $door.path $door.address $other.path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $values.socket.enabled -}}
{{- if not (contains "\"unix:/run/sidecar/" (toJson (dig "listen" "egress" list $config))) -}}
{{- $problems = append $problems "socket.enabled: config.listen.egress names no socket in /run/sidecar; add \"unix:/run/sidecar/egress.sock\", or leave egress out" -}}
{{- end -}}
{{- else if contains "\"unix:/run/sidecar/" (toJson (dig "listen" "egress" list $config)) -}}
{{- $problems = append $problems "config.listen.egress: nothing is mounted at /run/sidecar; set socket.enabled: true" -}}
{{- end -}}

{{- /* Files beside sidecar.toml: a ConfigMap's key holds no slash. */ -}}
{{- $keys := dict -}}
{{- range $path, $text := $values.files -}}
{{- $key := replace "/" "--" $path -}}
{{- if and (not (kindIs "invalid" $text)) (hasKey $keys $key) -}}
{{- $problems = append $problems (printf "files.%s: in the ConfigMap it has the same key as %s; name one of them otherwise" $path (get $keys $key)) -}}
{{- end -}}
{{- $_ := set $keys $key $path -}}
{{- end -}}

{{- /* The order of routes. */ -}}
{{- range $name, $service := get $config "services" | default dict -}}
{{- if kindIs "map" $service -}}
{{- $routes := list -}}
{{- range $route, $table := get $service "routes" | default dict -}}
{{- if kindIs "map" $table -}}{{- $routes = append $routes $route -}}{{- end -}}
{{- end -}}
{{- $order := get $values.routeOrder $name | default list -}}
{{- if and (gt (len $routes) 1) (not $order) -}}
{{- $problems = append $problems (printf "routeOrder.%s: the first route that matches wins, and Helm forgets the order of keys; list the routes in their order: %s" $name (join ", " (sortAlpha $routes))) -}}
{{- else if and $order (ne (toJson (sortAlpha $order)) (toJson (sortAlpha $routes))) -}}
{{- $problems = append $problems (printf "routeOrder.%s: list each of these once: %s" $name (join ", " (sortAlpha $routes))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := include "sidecar.present" $values.routeOrder | fromJson -}}
{{- if not (dig "services" $name "routes" nil $config) -}}
{{- $problems = append $problems (printf "routeOrder.%s: config.services.%s has no routes" $name $name) -}}
{{- end -}}
{{- end -}}

{{- /* What has to be mounted. */ -}}
{{- $mounts := list -}}
{{- range $mount := $values.extraVolumeMounts -}}{{- $mounts = append $mounts $mount.mountPath -}}{{- end -}}
{{- range $name, $_ := include "sidecar.present" $values.secretVolumes | fromJson -}}
{{- $mounts = append $mounts (printf "/etc/sidecar-secrets/%s" $name) -}}
{{- $store := dig "secrets" $name dict $config -}}
{{- if ne (get $store "kind" | default "") "file" -}}
{{- $problems = append $problems (printf "secretVolumes.%s: config.secrets.%s is a store of another kind; give one of the two another name" $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $store := get $config "secrets" | default dict -}}
{{- if and (kindIs "map" $store) (eq (get $store "kind" | default "") "file") -}}
{{- $path := get $store "path" | default "" -}}
{{- $isMounted := false -}}
{{- range $mount := $mounts -}}
{{- if or (eq $mount $path) (hasPrefix (printf "%s/" (trimSuffix "/" $mount)) $path) -}}{{- $isMounted = true -}}{{- end -}}
{{- end -}}
{{- if not $isMounted -}}
{{- $problems = append $problems (printf "config.secrets.%s.path: nothing is mounted at %s; name a Secret or a CSI volume in secretVolumes.%s, which is mounted at /etc/sidecar-secrets/%s, or mount something there with extraVolumeMounts" $name $path $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $file := regexFindAll "/var/run/tokens/[^\"]+" (toJson $config) -1 | uniq -}}
{{- if not (hasKey (include "sidecar.present" $values.tokens | fromJson) (trimPrefix "/var/run/tokens/" $file)) -}}
{{- $problems = append $problems (printf "config: it reads %s, and there is no such token; add tokens.%s with its audience" $file (trimPrefix "/var/run/tokens/" $file)) -}}
{{- end -}}
{{- end -}}

{{- $problems = concat $problems (include "sidecar.references" (dict "value" $config "path" "config" "config" $config) | fromJsonArray) -}}

{{- $bytes := len (toJson $config) -}}
{{- range $_, $text := include "sidecar.present" $values.files | fromJson -}}{{- $bytes = add $bytes (len $text) | int -}}{{- end -}}
{{- if gt $bytes 1000000 -}}
{{- $problems = append $problems (printf "files: they and sidecar.toml are %d bytes, and a ConfigMap holds 1 MiB" $bytes) -}}
{{- end -}}

{{- /* What is kept on disk. */ -}}
{{- $persistence := $values.persistence -}}
{{- if include "sidecar.hasState" (dict "Values" $values) -}}
{{- $kept := include "sidecar.bytes" (dig "store" "bytes_max" "256MiB" $config) | int64 -}}
{{- if and $persistence.size (lt (include "sidecar.bytes" $persistence.size | int64) (add $kept 67108864 | int64)) -}}
{{- $problems = append $problems (printf "persistence.size: %s is too small for config.store.bytes_max, which is %s, and 64 MiB for the log beside it" $persistence.size (dig "store" "bytes_max" "256MiB" $config)) -}}
{{- end -}}
{{- if not (hasPrefix "/var/lib/sidecar/" (dig "store" "path" "" $config)) -}}
{{- $problems = append $problems (printf "config.store.path: %s is not below /var/lib/sidecar, where the volume for it is mounted; all else is read-only" (dig "store" "path" "" $config)) -}}
{{- end -}}
{{- if and (eq $persistence.kind "existingClaim") (gt (int $config.sidecar.replicas) 1) -}}
{{- $problems = append $problems "persistence.kind: one claim serves one pod, since an SQLite file belongs to one process; for several pods write claimTemplate, in a StatefulSet, or keep things in Valkey" -}}
{{- end -}}
{{- else if ne $persistence.kind "emptyDir" -}}
{{- $problems = append $problems (printf "persistence.kind: %s, but nothing is kept on disk; set config.store.kind: sqlite, or leave it at emptyDir, which is not made then" $persistence.kind) -}}
{{- end -}}
{{- if and (eq $persistence.kind "existingClaim") (not $persistence.claimName) -}}
{{- $problems = append $problems "persistence.claimName: name the claim" -}}
{{- end -}}

{{- /* Objects around the pods. */ -}}
{{- $hooks := $values.webhooks -}}
{{- if and $hooks.service.enabled (not (get $config "webhooks")) -}}
{{- $problems = append $problems "webhooks.service.enabled: config.webhooks names none, so nothing listens" -}}
{{- end -}}
{{- if and (or $hooks.ingress.enabled $hooks.httpRoute.enabled) (not $hooks.service.enabled) -}}
{{- $problems = append $problems "webhooks.service.enabled: the Ingress or HTTPRoute leads to it; write true" -}}
{{- end -}}
{{- if and $hooks.ingress.enabled (not $hooks.ingress.host) -}}
{{- $problems = append $problems "webhooks.ingress.host: name the host that vendors call" -}}
{{- end -}}
{{- if and $hooks.httpRoute.enabled (not $hooks.httpRoute.parentRefs) -}}
{{- $problems = append $problems "webhooks.httpRoute.parentRefs: name the Gateway" -}}
{{- end -}}
{{- if and $values.alerts.enabled (not $values.alerts.runbookUrl) -}}
{{- $problems = append $problems "alerts.runbookUrl: say where docs/runbook.md is published, since each alert leads there" -}}
{{- end -}}
{{- $isFound := or $hooks.service.enabled $values.networkPolicy.enabled $values.podMonitor.enabled $values.serviceMonitor.enabled -}}
{{- if and .injected $isFound (not $values.podSelector) -}}
{{- $problems = append $problems "podSelector: an injected pod has the labels of its own app; write those by which the Service, the NetworkPolicy and the monitors find it" -}}
{{- end -}}
{{- if and .injected (eq $persistence.kind "claimTemplate") -}}
{{- $problems = append $problems "persistence.kind: claimTemplate is a StatefulSet's to make, which the injector does not see; keep things in Valkey, or take the other way, the chart as a dependency" -}}
{{- end -}}
{{- if and $values.aws.podIdentity $values.aws.roleArn -}}
{{- $problems = append $problems "aws.podIdentity: roleArn is the other way, IRSA; write one of them" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/*
References to a store that is not there: a JSON list of sentences, which repeat no more than the store's name.
{value, path, config}. A reference is known by its key and by the table that this is in: elsewhere such a key is something
else, as in `headers.set`, `params` and `signature`.
*/}}
{{- define "sidecar.references" -}}
{{- $top := . -}}
{{- $problems := list -}}
{{- $stores := keys (get .config "secrets" | default dict) | sortAlpha -}}
{{- $names := list "access_key" "actor_token" "app_token" "callback_secret" "certificate" "client_certificate" "client_key" "client_secret" "deliver_secret" "dpop_key" "encryption_key" "key" "password" "private_key" "refresh_token" "secret" "secret_key" "sentinel_password" "session_token" "subject_token" -}}
{{- $isTable := regexMatch "(^config\\.(listen|store|webhooks\\.[^.]+)|\\.(auth|client_certificate|queue)(\\[[0-9]+\\])?)$" .path -}}
{{- if kindIs "map" .value -}}
{{- range $key := keys .value | sortAlpha -}}
{{- $value := index $top.value $key -}}
{{- $path := printf "%s.%s" $top.path $key -}}
{{- if or (kindIs "map" $value) (kindIs "slice" $value) -}}
{{- $problems = concat $problems (include "sidecar.references" (dict "value" $value "path" $path "config" $top.config) | fromJsonArray) -}}
{{- end -}}
{{- if and $isTable (has $key $names) (not (kindIs "map" $value)) -}}
{{- range $text := kindIs "slice" $value | ternary $value (list $value) -}}
{{- if kindIs "string" $text -}}
{{- $store := regexFind "^[a-z][a-z0-9_-]*:" $text | trimSuffix ":" -}}
{{- if and $store (not (has $store $stores)) -}}
{{- $problems = append $problems (printf "%s: its store is %q, and there is %s; write another one, or add secretVolumes.%s or config.secrets.%s" $path $store ($stores | default (list "none") | join ", ") $store $store) -}}
{{- end -}}
{{- if and (contains "{environment}" $text) (not (dig "sidecar" "environment" "" $top.config)) -}}
{{- $problems = append $problems (printf "%s: it holds {environment}; write config.sidecar.environment" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $index, $value := .value -}}
{{- if or (kindIs "map" $value) (kindIs "slice" $value) -}}
{{- $problems = concat $problems (include "sidecar.references" (dict "value" $value "path" (printf "%s[%d]" $top.path $index) "config" $top.config) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
