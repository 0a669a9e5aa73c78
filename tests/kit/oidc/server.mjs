// A certified authorization server (npm oidc-provider) for the tests, with doors of its own below /_test/ to prepare
// clients and refresh tokens. Reads {tls: {certificate, key, ca}} in one line from stdin, writes {http, https} (ports)
// in one line to stdout, and ends when stdin does.
import * as crypto from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import * as readline from 'node:readline';

import { createLocalJWKSet, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

const settings = await new Promise((resolve) => {
  const lines = readline.createInterface({ input: process.stdin });
  lines.once('line', (line) => resolve(JSON.parse(line)));
  lines.once('close', () => process.exit(0));
});

const listen = (server) => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve(server.address().port));
});

const plain = http.createServer();
const secure = https.createServer({
  cert: settings.tls.certificate, key: settings.tls.key, ca: settings.tls.ca, requestCert: true, rejectUnauthorized: false,
});
const ports = { http: await listen(plain), https: await listen(secure) };

const nonceClients = new Set(); // Those whose proofs need the server's nonce.
const trusted = new Map(); // Issuer to public keys, for assertions and subject tokens.
const subjects = new Map(); // Access token to the subject of the assertion that it was given for.

const provider = new Provider(`http://localhost:${ports.http}`, {
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'none'],
  clientDefaults: { grant_types: [], response_types: [], redirect_uris: [] },
  cookies: { keys: [crypto.randomBytes(16).toString('hex')] },
  enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    deviceFlow: { enabled: true },
    dPoP: {
      enabled: true,
      nonceSecret: crypto.randomBytes(32),
      requireNonce: (ctx) => nonceClients.has(ctx.oidc?.client?.clientId),
    },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => {
        const raw = ctx.socket.getPeerCertificate?.()?.raw;
        return raw && new crypto.X509Certificate(raw).toString();
      },
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_san_dns'
        && new crypto.X509Certificate(ctx.socket.getPeerCertificate().raw).checkHost(expected) !== undefined,
    },
  },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'contacts', 'orders'],
  ttl: { ClientCredentials: 600, AccessToken: 600, RefreshToken: 86400, Grant: 86400, Session: 600, Interaction: 600 },
});

async function verified(token, audience) {
  const { iss } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString() || '{}');
  if (!trusted.has(iss)) throw new errors.InvalidGrant('the issuer is not known');
  try {
    const { payload } = await jwtVerify(token, createLocalJWKSet({ keys: trusted.get(iss) }), {
      issuer: iss, audience, maxTokenAge: '1h', requiredClaims: ['exp', 'iat'],
    });
    return payload;
  } catch (error) {
    throw new errors.InvalidGrant(error.code);
  }
}

async function grantFor(ctx, payload) {
  const { ClientCredentials } = provider;
  const token = new ClientCredentials({ client: ctx.oidc.client, scope: payload.scope });
  const value = await token.save();
  subjects.set(value, payload.sub);
  ctx.body = { access_token: value, token_type: 'Bearer', expires_in: token.expiration };
}

provider.registerGrantType(JWT_BEARER, async (ctx) => {
  await grantFor(ctx, await verified(ctx.oidc.params.assertion, ctx.oidc.urlFor('token')));
}, ['assertion']);

provider.registerGrantType(TOKEN_EXCHANGE, async (ctx) => {
  const { params } = ctx.oidc;
  await grantFor(ctx, await verified(params.subject_token, provider.issuer));
  ctx.body.issued_token_type = 'urn:ietf:params:oauth:token-type:access_token';
}, ['subject_token', 'subject_token_type', 'audience', 'requested_token_type', 'scope']);

const doors = {
  async clients(metadata) {
    const { needs_nonce: needsNonce, ...client } = metadata;
    if (needsNonce) nonceClients.add(client.client_id);
    await provider.Client.adapter.upsert(client.client_id, client);
    return {};
  },
  async trusted({ issuer, keys }) {
    trusted.set(issuer, keys);
    return {};
  },
  async refresh_tokens({ client_id: clientId, scope }) {
    const client = await provider.Client.find(clientId);
    const accountId = 'somebody';
    const grant = new provider.Grant({ accountId, clientId });
    grant.addOIDCScope(scope);
    const grantId = await grant.save();
    const token = new provider.RefreshToken({
      accountId, client, grantId, scope, gty: 'authorization_code', expiresWithSession: false, authTime: 0,
    });
    return { refresh_token: await token.save() };
  },
  async tokens({ token }) {
    const found = (await provider.ClientCredentials.find(token)) ?? (await provider.AccessToken.find(token));
    return found && found.isValid ? { ...found, client: undefined, subject: subjects.get(token) } : {};
  },
};

const serve = provider.callback();

async function door(request, response) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const answer = await doors[request.url.slice('/_test/'.length)](JSON.parse(Buffer.concat(pieces).toString()));
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(answer));
}

function handle(request, response) {
  if (!request.url.startsWith('/_test/')) {
    serve(request, response);
    return;
  }
  door(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error.stack));
  });
}

plain.on('request', handle);
secure.on('request', handle);
process.stdout.write(`${JSON.stringify(ports)}\n`);
