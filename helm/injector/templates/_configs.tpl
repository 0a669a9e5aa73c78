{{/*
What is injected is rendered by the named templates of the chart sidecar, each config with a context of its own: so an
injected pod equals one that has the chart as a dependency.
*/}}

{{/* The values of a config: the sidecar's defaults, our image, then what the config says. JSON. {top, name, config}. */}}
{{- define "injector.values" -}}
{{- $base := deepCopy .top.Subcharts.sidecar.Values -}}
{{- $_ := set $base "image" (deepCopy .top.Values.image) -}}
{{- if not .top.Values.image.tag -}}{{- $_ := set $base.image "tag" .top.Chart.AppVersion -}}{{- end -}}
{{- $_ := set $base "fullnameOverride" (printf "sidecar-%s" .name) -}}
{{- include "injector.merged" (dict "below" $base "above" (.config.values | default dict)) -}}
{{- end -}}

{{/* Maps laid over maps, as Helm does it: sprig's mergeOverwrite does not let false win. JSON. {below, above}. */}}
{{- define "injector.merged" -}}
{{- $merged := deepCopy .below -}}
{{- range $key, $value := .above -}}
{{- $under := get $merged $key -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $merged $key -}}
{{- else if and (kindIs "map" $value) (kindIs "map" $under) -}}
{{- $_ := set $merged $key (include "injector.merged" (dict "below" $under "above" $value) | fromJson) -}}
{{- else -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* What the injector puts into a pod: a fragment. The context is one of the chart sidecar. {context, namespaces}. */}}
{{- define "injector.fragment" -}}
{{- $fragment := dict "namespaces" .namespaces "native" .context.Values.nativeSidecar -}}
{{- $_ := set $fragment "container" (include "sidecar.container" .context | fromYaml) -}}
{{- $_ := set $fragment "volumes" (include "sidecar.volumes" .context | fromYamlArray) -}}
{{- $_ := set $fragment "annotations" (include "sidecar.podAnnotations" .context | fromYaml) -}}
{{- $_ := set $fragment "appVolumeMounts" (include "sidecar.appVolumeMounts" .context | fromYamlArray) -}}
{{- $_ := set $fragment "podSecurityContext" (include "sidecar.podSecurityContext" .context | fromYaml) -}}
{{- toPrettyJson $fragment -}}
{{- end -}}
