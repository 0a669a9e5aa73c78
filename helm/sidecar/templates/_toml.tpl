{{/*
TOML. Helm's own toToml writes whole numbers as 3.0 and 1e+08, since values are floats by then, and the sidecar refuses a
float where it wants a count. So it is written here: numbers as JSON has them (3), text as JSON's text, which TOML reads,
null left out. Helm sorts keys, so the order of routes, which matters, comes from `routeOrder`.
*/}}

{{/* A table and all below it. {table, path: "services.crm", routeOrder}. */}}
{{- define "sidecar.toml.table" -}}
{{- $top := . -}}
{{- $lines := list -}}
{{- $below := list -}}
{{- range $key := keys .table | sortAlpha -}}
{{- $value := index $top.table $key -}}
{{- if kindIs "map" $value -}}
{{- $below = append $below $key -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $lines = append $lines (printf "%s = %s" (include "sidecar.toml.key" $key) (include "sidecar.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{{- if and $top.path (or $lines (not $below)) -}}
{{- $lines = prepend $lines (printf "[%s]" (join "." $top.path)) -}}
{{- end -}}
{{- $parts := list -}}
{{- if $lines -}}
{{- $parts = append $parts (join "\n" $lines) -}}
{{- end -}}
{{- if and (eq (len $top.names) 3) (eq (first $top.names) "services") (eq (last $top.names) "routes") -}}
{{- $below = index $top.routeOrder (index $top.names 1) | default $below -}}
{{- end -}}
{{- range $key := $below -}}
{{- $path := append $top.path (include "sidecar.toml.key" $key) -}}
{{- $inner := dict "table" (index $top.table $key) "path" $path "names" (append $top.names $key) "routeOrder" $top.routeOrder -}}
{{- $parts = append $parts (include "sidecar.toml.table" $inner) -}}
{{- end -}}
{{- join "\n\n" $parts -}}
{{- end -}}

{{- define "sidecar.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{- . -}}{{- else -}}{{- include "sidecar.toml.text" . -}}{{- end -}}
{{- end -}}

{{/* Text. What JSON leaves as it is, and TOML or YAML does not allow: DEL, C1 and the marks of byte order. */}}
{{- define "sidecar.toml.text" -}}
{{- $written := toRawJson . -}}
{{- if regexMatch "[\\x{7f}-\\x{9f}\\x{feff}\\x{fffe}\\x{ffff}]" $written -}}
{{- $letters := list -}}
{{- range $letter := regexFindAll "(?s)." $written -1 -}}
{{- if eq $letter (printf "%c" 127) -}}
{{- $letters = append $letters "\\u007f" -}}
{{- else if regexMatch "[\\x{80}-\\x{9f}\\x{feff}\\x{fffe}\\x{ffff}]" $letter -}}
{{- $letters = append $letters (printf "%+q" $letter | trimAll "\"") -}}
{{- else -}}
{{- $letters = append $letters $letter -}}
{{- end -}}
{{- end -}}
{{- $written = join "" $letters -}}
{{- end -}}
{{- $written -}}
{{- end -}}

{{/* A value in one line; a list of tables in one line for each. */}}
{{- define "sidecar.toml.value" -}}
{{- if kindIs "map" . -}}
{{- $table := . -}}
{{- $pairs := list -}}
{{- range $key := keys . | sortAlpha -}}
{{- $value := index $table $key -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "sidecar.toml.key" $key) (include "sidecar.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{{- if $pairs -}}{{- printf "{ %s }" (join ", " $pairs) -}}{{- else -}}{}{{- end -}}
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- $hasTables := false -}}
{{- range $item := . -}}
{{- if kindIs "invalid" $item -}}
{{- fail "config: a list holds null, for which TOML has no word; take the item out" -}}
{{- end -}}
{{- if kindIs "map" $item -}}{{- $hasTables = true -}}{{- end -}}
{{- $items = append $items (include "sidecar.toml.value" $item) -}}
{{- end -}}
{{- if and $hasTables (gt (len $items) 1) -}}
{{- printf "[\n  %s,\n]" (join ",\n  " $items) -}}
{{- else -}}
{{- printf "[%s]" (join ", " $items) -}}
{{- end -}}
{{- else if kindIs "string" . -}}
{{- include "sidecar.toml.text" . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}
