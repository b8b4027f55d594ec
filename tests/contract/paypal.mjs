// node paypal.mjs BASE CLIENT_ID SECRET: PayPal's own clients against BASE, which speaks PayPal at its root. Steps as a
// JSON list on stdin, what each brought as one on stdout: {status, body}.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const paypal = require('@paypal/payouts-sdk');
const server = require('@paypal/paypal-server-sdk');

const [base, id, secret] = process.argv.slice(2);
const environment = new paypal.core.SandboxEnvironment(id, secret);
environment.baseUrl = base;
const payouts = new paypal.core.PayPalHttpClient(environment);

// The newer client has the hosts of PayPal built in, so only its connections are sent elsewhere.
const { hostname, port } = new URL(base);
const transport = {
  request: (options, answered) =>
    http.request(
      { ...options, protocol: 'http:', hostname, host: hostname, port, agent: undefined, agents: undefined },
      answered,
    ),
};
const search = new server.TransactionSearchController(
  new server.Client({
    environment: server.Environment.Sandbox,
    clientCredentialsAuthCredentials: { oAuthClientId: id, oAuthClientSecret: secret },
    unstable_httpClientOptions: { transport },
  }),
);

const { PayoutsGetRequest, PayoutsItemCancelRequest, PayoutsItemGetRequest, PayoutsPostRequest } = paypal.payouts;
const requests = {
  create: (step) => new PayoutsPostRequest().requestBody(step.body),
  batch: (step) => new PayoutsGetRequest(step.id).page(1).pageSize(1000).totalRequired(true),
  item: (step) => new PayoutsItemGetRequest(step.id),
  cancel: (step) => new PayoutsItemCancelRequest(step.id),
};

async function take(step) {
  if (step.do === 'search') {
    const { startDate, endDate } = step;
    const found = await search.searchTransactions({
      startDate,
      endDate,
      fields: 'transaction_info',
      pageSize: 500,
      page: 1,
    });
    return { status: found.statusCode, body: found.result };
  }
  try {
    const { statusCode, result } = await payouts.execute(requests[step.do](step));
    return { status: statusCode, body: result };
  } catch (error) {
    if (!error.statusCode) throw error;
    return { status: error.statusCode, body: JSON.parse(error.message) };
  }
}

const brought = [];
for (const step of JSON.parse(readFileSync(0, 'utf8'))) brought.push(await take(step));
console.log(JSON.stringify(brought));
