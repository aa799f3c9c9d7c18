// Client of the viewer's HTTP API.
// Guarantees: every function resolves to the response's JSON, or rejects with an `ApiError` whose
// message can be shown; `status` 0 means that there was no response.

const TIMEOUT_MS = 30_000;

/** A request that failed. */
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
export const getPlan = (query) => ask("GET", `/api/plan?${parameters(query)}`);
export const getProposal = (id) => ask("GET", `/api/plan/${encodeURIComponent(id)}`);
export const putAnswer = (answer) => ask("PUT", "/api/outcomes", answer);
export const scriptAnswers = (answers) => ask("POST", "/api/outcomes", { outcomes: answers });
export const restoreAnswers = () => ask("DELETE", "/api/outcomes");

/** Post events to the endpoint, as an application does. */
export function postSample(events) {
  const body = events.map((event) => `${JSON.stringify(event)}\n`).join("");
  return ask("POST", "/v1/sample-auth-key/sample-api-key", body);
}

/** Return a query string without the parameters that are not set. */
export function parameters(query) {
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  return new URLSearchParams(set).toString();
}

async function ask(method, path, body) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
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
    throw new ApiError(0, "The viewer does not respond.");
  }
}

async function read(response) {
  const text = await response.text();
  const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
  const answer = isJson && text ? JSON.parse(text) : null;
  if (response.ok) return answer;
  throw new ApiError(response.status, answer?.error || `The viewer responded with status ${response.status}.`);
}
