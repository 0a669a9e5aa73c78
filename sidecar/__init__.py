"""The sidecar: a small daemon beside an application, which calls third-party APIs for it.

The map. Imports go down this list, never up and never sideways; neighbours meet as protocols and plain callables,
handed over by `app.py`.

    __main__.py  cli.py   the commands: run, check, show, demo, version
    demo/         a scripted vendor, and the tour: tour.py stage.py step.py checks.py screen.py client.py
                  vendor.py memory.py (of the vendor)
      story/      the steps: good_days.py bad_days.py limits.py outages.py refusals.py
    app.py        the composition root: start, reload, drain
    doors.py      every listener of the process            generation.py   one config, and all that was built from it
    process.py    what is set once for the process
    config/       model.py (gathers the sections) load.py presets.py reader.py walk.py problem.py show.py changes.py
      rules/      what must hold across sections: timeouts.py listeners.py references.py bounds.py names.py services.py
                  policies.py headers.py
    providers/    presets, one TOML file per vendor: data, no code
    downstream/   towards the app: listener.py connection.py reader.py limits.py request.py router.py fields.py
                  exchange.py respond.py
    admin/        for people and probes: health.py api.py page.py door.py problem.py ask.py table.py
    layers/       one policy per file; stack.py holds the order and why  << read this first
                  observe.py deadline.py admission.py body_bound.py access.py rewrite.py transform.py credentials.py
                  service.py (a service's config) running.py (a service at work) shared.py (what all stand on)
                  policies.py (a service's machines) machines.py (kept over reloads)
      idempotency/     config.py layer.py key.py places.py (header, query) field.py (of a JSON body)
      coalesce/        config.py layer.py likeness.py (which calls are equal) flight.py (one that is shared)
      retry/           config.py layer.py backoff.py budget.py replay.py
      hedge/           config.py layer.py race.py
      circuit_breaker/ config.py layer.py breaker.py (the machine) report.py
      rate_limit/      config.py layer.py limiter.py bucket.py quota.py share.py line.py (who waits) near.py
                       ear.py announced.py resources.py allowance.py window.py sliding.py mirror.py gauge.py adaptive.py
      bulkhead/        config.py layer.py bulkhead.py slots.py gradient.py
    auth/         how a call becomes entitled: schemes.py credential.py app_token.py
      secrets/    where stored material is read: store.py (the protocol) file.py held.py (kept current)
    upstream/     towards the vendor: origin.py resolve.py guard.py (egress guard) tls.py proxy.py dial.py failures.py
                  pool.py connection.py answer.py limits.py transport.py
      hints/      what a vendor announces of its limits: config.py interpreter.py dialect.py counted.py state.py
                  signal.py allowance.py document.py expression.py structured.py numbers.py times.py doubts.py
    telemetry/    table.py (every metric) metrics.py log.py (the canonical line) writer.py redact.py trace.py
                  quiet.py
    core/         the vocabulary, no I/O: call.py body.py outcome.py errors.py problem.py clock.py alarm.py tasks.py
                  section.py units.py statuses.py secret.py headers.py paths.py query.py hosts.py address.py ids.py
                  advice.py (what a vendor told) rolling.py recent.py

The life of a call.

    app -> listener -> connection, reader -> exchange: router -> service -> handler(call) ---> transport -> vendor
           observe > deadline > admission > body_bound > access > rewrite > transform > idempotency > coalesce >
               retry > hedge > [ per attempt: circuit_breaker > rate_limit > bulkhead > credentials > ]
    app <- exchange streams the body <- reply <-------------------------------------------------'
           last byte sent, or given up: call.end(outcome); the endings run in reverse, once
"""

__version__ = "0.1.0"
