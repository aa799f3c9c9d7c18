// How to point an application here.
// Promises: the lines work as they stand; any keys are right, since this endpoint knows none.

import { postSample } from "./api.js";
import { announce } from "./announce.js";
import { tabbedCode } from "./codebox.js";
import { button, el } from "./dom.js";

/** Return the lines for an endpoint, as `[[name, text]...]`. */
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

/** Return the block that an empty list shows. */
export function setupBlock(endpoint, title) {
  const send = button("Send a right and a wrong event", sendSamples, { class: "primary" });
  return el(
    "section",
    { class: "setup", "aria-labelledby": "setup-title" },
    el("h2", { id: "setup-title" }, title),
    el(
      "p",
      {},
      "Point an application here: what it does appears as it happens. The keys can be anything.",
    ),
    tabbedCode("Point an application here by", setupLines(endpoint)),
    el("p", { class: "or" }, "Or look around first: ", send),
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
  const right = { ...common, action: "feature", module: "reports", feature: "export", total: 42 };
  const wrong = { ...common, userId: 7, action: "feature", module: "reports", feature: "share" };
  try {
    await postSample([right, wrong]);
    announce("Two events sent");
  } catch (error) {
    announce(error.message);
  }
}
