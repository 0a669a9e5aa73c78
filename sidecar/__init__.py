"""The sidecar: a small daemon beside an application, which calls third-party APIs for it.

The map. Imports go down this list, never up and never sideways; neighbours meet as protocols and plain callables,
handed over by `app.py`.

    __main__.py  cli.py   the commands: run, check, show, schema, login, token, jobs, events, audit,
                          injector, demo, version
    demo/         a scripted vendor, and the tour: tour.py stage.py step.py checks.py screen.py client.py
                  vendor.py memory.py (of the vendor)
      story/      the steps: good_days.py bad_days.py limits.py outages.py kept.py refusals.py
    serve.py      a process that serves, led by signals     login.py     `sidecar login`: what a login stands on
    waiting.py    `sidecar jobs`, `sidecar events`          injecting.py `sidecar injector`: a process of its own
    app.py        the composition root: start, reload, drain
    doors.py      every listener of the process            generation.py   one config, and all that was built from it
    process.py    what is set once for the process          auditing.py  the audit log of the process
    storing.py    the store of the process                 own.py          what is answered under /_sidecar/
    people.py     what those who run it see and do
    config/       model.py (gathers the sections) load.py presets.py webhooks.py reader.py walk.py problem.py show.py
                  changes.py schema.py (for editors and Helm) schema_types.py schema_fields.py
                  schema_pairs.py schema_words.py
      rules/      what must hold across sections: timeouts.py listeners.py references.py bounds.py names.py services.py
                  policies.py headers.py credentials.py
    providers/    presets, one TOML file per vendor: data, no code
    downstream/   towards the app: listener.py connection.py reader.py limits.py request.py router.py fields.py
                  exchange.py respond.py peer.py inner.py (a call that no request of its own brought)
    queue/        calls that do not stand alone, or that may happen later: queue.py (all lines) job.py (what is stored)
                  submit.py line.py (one at work) turn.py (one attempt) verdict.py callback.py resource.py
      batch/           batch.py (the resource) config.py whole.py asked.py (in JSON) streamed.py lines.py listed.py (in
                  NDJSON) item.py run.py (its items, so many at once) sending.py again.py result.py
                  later.py (not waited for) intake.py register.py (which were accepted) item_turns.py
                  progress.py telling.py (what came of the items) together.py
    webhooks/     calls from the vendor: incoming.py (the verifier) message.py scheme.py (how a vendor signs, as data)
                  presets.py place.py reading.py signed.py key.py bearer.py fetched.py handshake.py
                  door.py receiver.py (one webhook) verifying.py keys.py config.py target.py
                  event.py (what is stored) webhooks.py (all of them) delivery.py failing.py taker.py (the app)
                  batching.py fetching.py resource.py events.py (for people)
    admin/        for people and probes: health.py api.py page.py door.py problem.py ask.py table.py token.py
                  jobs.py events.py
    kubernetes/   the injector: review.py (what the API server asks) pod.py fragment.py (what is added) directory.py
                  decision.py (the machine) patch.py injector.py door.py certificate.py
    working/      what waits is worked off: worker.py (one line) verdict.py (how a turn ended) clearing.py
                  signing.py (of what is posted to the app)
    layers/       one policy per file; stack.py holds the order and why  << read this first
                  observe.py deadline.py admission.py body_bound.py access.py rewrite.py transform.py entitled.py
                  credentials.py entitling.py (from `auth` to these two) sources.py (of tokens) lanes.py (one for each
                  credential of a pool) service.py (a service's config) running.py (a service at work) way.py (its
                  connections) notices.py (of the end of its API) gather.py (an answer in hand) whole.py (JSON in
                  hand) pieces.py (cut at its list) shared.py (what all stand on) policies.py (a service's machines)
                  limiting.py (of these) machines.py (kept over reloads)
      idempotency/     config.py layer.py key.py places.py (header, query) field.py (of a JSON body) receiving.py
                       placing.py once.py (the answer, repeated) keeper.py record.py
      defer/           config.py layer.py when.py (which calls may be jobs, after which failures) storing.py
      batch/           config.py layer.py batch.py (the machine)
      gathering/       config.py layer.py question.py (who may, and what is asked) basket.py (the machine)
                       gathering.py (one under way)
      coalesce/        config.py layer.py likeness.py (which calls are equal) flight.py (one that is shared)
      retry/           config.py layer.py backoff.py budget.py replay.py
      hedge/           config.py layer.py race.py
      circuit_breaker/ config.py layer.py breaker.py (the machine) report.py
      rate_limit/      config.py layer.py limiter.py bucket.py quota.py share.py line.py (who waits) near.py
                       leased.py (of the fleet's limit) own_quotas.py demand.py haste.py
                       leasing.py (asks for more)
                       ear.py announced.py resources.py allowance.py window.py sliding.py mirror.py gauge.py adaptive.py
      bulkhead/        config.py layer.py bulkhead.py slots.py gradient.py
    auth/         how a call becomes entitled: schemes.py credential.py previous.py pool.py app_token.py
                  network.py
      secrets/    where stored material is read: store.py (the protocol) opening.py file.py document.py held.py (kept
                  current) known.py (masked) pace.py learning.py (what a vendor chose)
        vault/    config.py store.py (key-value) dynamic.py leased.py login.py lease.py http.py answers.py
        aws/      config.py store.py client.py failures.py
        gcp/      config.py store.py login.py http.py answers.py crc32c.py
      oauth/      config.py minter.py grant.py client.py endpoint.py answer.py token.py life.py material.py jwt.py
                  dpop.py certificate.py url.py source.py (the cache) renewal.py rotation.py supply.py pace.py bearer.py
                  fleet.py (one pod renews for all) sealed.py (a token in the shared store)
      signing/    config.py hmac_signer.py template.py received.py sigv4.py aws_keys.py aws_chunks.py canonical.py
                  github_app.py mtls.py passthrough.py parts.py
      login/      login.py flow.py authorization.py loopback.py device.py endpoints.py keep.py config.py failed.py
    upstream/     towards the vendor: origin.py resolve.py guard.py (egress guard) tls.py proxy.py dial.py failures.py
                  pool.py connection.py answer.py limits.py transport.py connector.py notice.py (what ends, and when)
      hints/      what a vendor announces of its limits: config.py interpreter.py dialect.py counted.py state.py
                  signal.py allowance.py document.py expression.py structured.py numbers.py times.py doubts.py
    store/        what outlives a call, and what pods agree on: base.py (the protocol) config.py opening.py
                  backlog.py (the protocol of entries that wait) fallback.py fallback_backlog.py (Valkey, and a file
                  while it is away)
                  steady.py (time that does not jump) local_leases.py memory.py memory_room.py memory_backlog.py
                  memory_line.py memory_rows.py
                  ledger.py (who of a fleet may send how much) local_permits.py
      sqlite/     file.py (the one writer, group commit) schema.py records.py store.py
                  backlog.py entries.py (what is done to them) rows.py spill.py (what is large, in files)
      valkey/     appending.py client.py connecting.py reach.py (is it there) records.py store.py
                  backlog.py backlog_scripts.py append_scripts.py (in Lua)
                  permits.py (lease.lua, close.lua)
    telemetry/    table.py (every metric) metrics.py log.py (the canonical line) writer.py redact.py trace.py
                  quiet.py
      audit/      audit.py record.py writer.py file.py stream.py last.py paths.py once.py chain_check.py
                  verify.py config.py
    core/         the vocabulary, no I/O: call.py body.py outcome.py errors.py problem.py clock.py alarm.py tasks.py
                  section.py units.py statuses.py peer.py secret.py headers.py paths.py query.py hosts.py address.py
                  bodies.py (in hand) ids.py advice.py (what a vendor told) rolling.py recent.py repeated.py

The life of a call.

    app -> listener -> connection, reader -> exchange: router -> service -> handler(call) ---> transport -> vendor
           observe > deadline > admission > body_bound > access > defer > rewrite > transform > idempotency > batch >
               gather > coalesce > retry > hedge >
               [ per attempt: circuit_breaker > rate_limit > bulkhead > credentials > ]
    app <- exchange streams the body <- reply <-------------------------------------------------'
           last byte sent, or given up: call.end(outcome); the endings run in reverse, once
"""

__version__ = "0.1.0"
