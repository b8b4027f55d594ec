// node contracts.mjs SPECS OUT: one OpenAPI document for each rail, as all of it is spoken at one address, from the
// vendors' contracts in SPECS. What is added, closed or left out is said beside it; nothing else is changed.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const YAML = createRequire(import.meta.url)('js-yaml');
const [specs, out] = process.argv.slice(2);
mkdirSync(out, { recursive: true });

const read = (path) => YAML.load(readFileSync(join(specs, path), 'utf8'));

// All references and names of components with a prefix, so that two documents fit into one.
const prefixed = (document, prefix) => {
  const text = JSON.stringify(document).replaceAll(/"#\/components\/(\w+)\//g, `"#/components/$1/${prefix}`);
  const named = JSON.parse(text);
  for (const [kind, all] of Object.entries(named.components ?? {})) {
    named.components[kind] = Object.fromEntries(Object.entries(all).map(([name, one]) => [prefix + name, one]));
  }
  const secured = (list) =>
    list?.map((one) => Object.fromEntries(Object.entries(one).map(([name, scopes]) => [prefix + name, scopes])));
  if (named.security) named.security = secured(named.security);
  for (const path of Object.values(named.paths)) {
    for (const operation of Object.values(path))
      if (operation?.security) operation.security = secured(operation.security);
  }
  return named;
};

// A request may hold nothing that its contract does not name: a field that is misspelt is not sent at all, and where it
// is optional nobody would see it. Answers may hold more, as the vendors' do.
const closed = (document, schema) => {
  if (schema?.$ref)
    return closed(
      document,
      schema.$ref
        .split('/')
        .slice(1)
        .reduce((at, name) => at[name], document),
    );
  if (Array.isArray(schema)) return schema.map((one) => closed(document, one));
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(
    Object.entries(schema).map(([name, one]) => [
      name,
      ['example', 'examples', 'default', 'enum'].includes(name) ? one : closed(document, one),
    ]),
  );
  const isCombined = schema.allOf || schema.oneOf || schema.anyOf;
  return schema.properties && !isCombined && schema.additionalProperties === undefined
    ? { ...inner, additionalProperties: false }
    : inner;
};

// The paths of several documents; of a path that two have, the first one's.
const joined = (title, documents) => {
  const all = {
    openapi: '3.0.3',
    info: { title, version: '1' },
    servers: [{ url: 'http://127.0.0.1' }],
    paths: {},
    components: {},
  };
  for (const [at, document] of documents.entries()) {
    const one = prefixed(document, `d${at}_`);
    for (const [path, what] of Object.entries(one.paths)) {
      // What holds for a whole document is said of each of its operations.
      for (const operation of Object.values(what)) {
        if (operation?.responses && one.security) operation.security ??= one.security;
        for (const media of Object.values(operation?.requestBody?.content ?? {}))
          media.schema = closed(one, media.schema);
      }
      all.paths[path] ??= what;
    }
    for (const [kind, some] of Object.entries(one.components ?? {}))
      all.components[kind] = { ...all.components[kind], ...some };
  }
  return all;
};

// PayPal, "Get an access token" and RFC 6749, 4.4: no contract has it.
const paypalToken = {
  paths: {
    '/v1/oauth2/token': {
      post: {
        security: [{ basic: [] }],
        requestBody: {
          required: true,
          content: {
            'application/x-www-form-urlencoded': {
              schema: {
                type: 'object',
                required: ['grant_type'],
                additionalProperties: false,
                properties: { grant_type: { enum: ['client_credentials'] } },
              },
            },
          },
        },
        responses: {
          200: {
            description: 'A token',
            content: {
              'application/json': {
                schema: {
                  type: 'object',
                  required: ['access_token', 'token_type', 'expires_in'],
                  properties: {
                    access_token: { type: 'string', minLength: 1 },
                    token_type: { enum: ['Bearer'] },
                    expires_in: { type: 'integer' },
                  },
                },
              },
            },
          },
          401: {
            description: 'Not this client',
            content: { 'application/json': { schema: { type: 'object', required: ['error'] } } },
          },
        },
      },
    },
  },
  components: { securitySchemes: { basic: { type: 'http', scheme: 'basic' } } },
};

// RFC 6750, 3: what PayPal's door says of a token that it does not know, before the API of the contract has been asked.
const unknownToken = {
  description: 'Not a token, or not any more',
  content: {
    'application/json': {
      schema: { type: 'object', required: ['error'], properties: { error: { type: 'string', minLength: 1 } } },
    },
  },
};
// What a door says before the API whose contract it is has been asked.
const withDoor = (said, document) => {
  for (const path of Object.values(document.paths)) {
    for (const operation of Object.values(path))
      if (operation?.responses) operation.responses = { ...operation.responses, ...said };
  }
  return document;
};
const anything = { description: 'Said by the door', content: { 'application/json': { schema: { type: 'object' } } } };

const only = (document, paths) => ({
  ...document,
  paths: Object.fromEntries(paths.map((path) => [path, document.paths[path]])),
});

const documents = {
  paypal: withDoor(
    { 401: unknownToken },
    joined('PayPal', [
      read('paypal/payments_payouts_batch_v1.json'),
      read('paypal/reporting_transactions_v1.json'),
      read('paypal/notifications_webhooks_v1.json'),
      paypalToken,
    ]),
  ),
  stripe: joined('Stripe', [read('stripe/stripe_transfers_payouts_slice.json')]),
  // Too many requests are 429 with an empty body, and a server error may come from anywhere.
  wise: withDoor(
    { 429: anything, 500: anything },
    joined('Wise', [
      read('wise/batch_groups_and_transfers.openapi.json'),
      // A third party's: only for what the first one has not.
      only(read('wise/wise_openapi_maxploter.yaml'), [
        '/v3/profiles/{profileId}/quotes',
        '/v1/accounts',
        '/v2/accounts/{accountId}',
      ]),
    ]),
  ),
};
for (const [rail, document] of Object.entries(documents))
  writeFileSync(join(out, `${rail}.json`), JSON.stringify(document));
