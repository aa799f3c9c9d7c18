// How to send events here.
// Guarantees: the snippets work unchanged; the endpoint accepts any keys.

import { postSample } from "./api.js";
import { announce } from "./announce.js";
import { tabbedCode } from "./codebox.js";
import { button, el } from "./dom.js";

/** Return the snippets for an endpoint, as `[[name, text]...]`. */
export function setupLines(endpoint) {
  const environment = [
    `export FSLOG_ENDPOINT=${endpoint}`,
    "export FSLOG_AUTH_KEY=any FSLOG_API_KEY=any",
  ].join("\n");
  const configuration = [
    '"handlers": {',
    '    "usage": {',
    '        "class": "fslog.FreshsuccessHandler",',
    `        "endpoint": "${endpoint}",`,
    '        "auth_key": "any",',
    '        "api_key": "any",',
    '        "flush_interval": 0.5,',
    "    },",
    "},",
    '"root": {"handlers": ["usage"], "level": "INFO"},',
  ].join("\n");
  return [
    ["Environment", environment],
    ["dictConfig", configuration],
    ["curl", curlLine(endpoint)],
  ];
}

/** Return the instructions that an empty list shows. */
export function setupBlock(endpoint, title) {
  const send = button("Send a valid and an invalid event", sendSamples, { class: "primary" });
  return el(
    "section",
    { class: "setup", "aria-labelledby": "setup-title" },
    el("h2", { id: "setup-title" }, title),
    el(
      "p",
      {},
      "Configure your application to send its events here. Any keys are accepted.",
    ),
    tabbedCode("Configuration", setupLines(endpoint)),
    el("p", { class: "or" }, "Or try it first: ", send),
  );
}

function curlLine(endpoint) {
  const event = {
    accountId: "acme",
    userId: "ann",
    createdAt: Date.now(),
    action: "feature",
    sessionId: "s-1",
    module: "reports",
    feature: "export",
  };
  return `curl -X POST ${endpoint}/v1/any/any --data-binary '${JSON.stringify(event)}'`;
}

async function sendSamples() {
  const common = {
    accountId: "acme",
    userId: "ann",
    createdAt: Date.now(),
    sessionId: "sample-session",
  };
  const valid = { ...common, action: "feature", module: "reports", feature: "export", total: 42 };
  const invalid = { ...common, userId: 7, action: "feature", module: "reports", feature: "share" };
  try {
    await postSample([valid, invalid]);
    announce("Two events sent");
  } catch (error) {
    announce(error.message);
  }
}
