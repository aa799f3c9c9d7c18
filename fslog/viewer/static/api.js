// The viewer's HTTP API, as the page uses it.
// Promises: every function returns a promise of the answer's JSON, or rejects with an `ApiError`
// whose message can be shown; `status` 0 means that the server did not answer at all.

const PATIENCE_MS = 30_000;

/** Tell why an answer did not come. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const getEvents = (query) => ask("GET", `/api/events?${parameters(query)}`);
export const getEvent = (id) => ask("GET", `/api/events/${encodeURIComponent(id)}`);
export const clearEvents = () => ask("DELETE", "/api/events");
export const getRequests = (query) => ask("GET", `/api/requests?${parameters(query)}`);
export const getOverview = (query = {}) => ask("GET", `/api/overview?${parameters(query)}`);
export const getSessions = (query) => ask("GET", `/api/sessions?${parameters(query)}`);
export const getOutcomes = () => ask("GET", "/api/outcomes");
export const setOutcome = (outcome) => ask("PUT", "/api/outcomes", outcome);
export const scriptOutcomes = (outcomes) => ask("POST", "/api/outcomes", { outcomes });
export const endOutcomes = () => ask("DELETE", "/api/outcomes");

/** Post events to the endpoint itself, as an application would. */
export function postSample(events) {
  const body = events.map((event) => `${JSON.stringify(event)}\n`).join("");
  return ask("POST", "/v1/sample-auth-key/sample-api-key", body);
}

/** Write a query, leaving out what is not set. */
export function parameters(query) {
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  return new URLSearchParams(set).toString();
}

async function ask(method, path, body) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const request = { method, cache: "no-store", headers: {}, signal };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
    return await read(response);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(0, "The viewer's server does not answer.");
  }
}

async function read(response) {
  const text = await response.text();
  const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
  const answer = isJson && text ? JSON.parse(text) : null;
  if (response.ok) return answer;
  throw new ApiError(response.status, answer?.error || `The server answers ${response.status}.`);
}
