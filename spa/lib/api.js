// The daemon's JSON API: one way to ask, one kind of failure.

const NO_LOGIN = "login required";

/** What the daemon answers where it says no; status 0 where it does not answer at all. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {{loc: (string | number)[], msg: string}[]} [problems]
   */
  constructor(status, message, problems = []) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.problems = problems;
  }

  /**
   * Return what is wrong with one field of the body, in the daemon's words.
   * @param {string} field
   */
  of(field) {
    return this.problems.find((problem) => problem.loc.includes(field))?.msg ?? "";
  }
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export function get(path, signal) {
  return ask("GET", path, undefined, { signal });
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export function send(method, path, body, headers) {
  return ask(method, path, body, { headers });
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {{signal?: AbortSignal, headers?: Record<string, string>}} options
 * @returns {Promise<any>}
 */
async function ask(method, path, body, { signal, headers = {} }) {
  /** @type {RequestInit} */
  const request = { method, signal, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (body instanceof Blob) request.body = body;
  else if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers = { "Content-Type": "application/json", ...request.headers };
  }
  let answer;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The daemon does not answer. Is it running, and is this machine on its network?");
  }
  if (!answer.ok) {
    const error = await readError(answer);
    if (answer.status === 401 && error.message === NO_LOGIN) goToLogin(); // a wrong present password is 401 too
    throw error;
  }
  if (answer.status === 204) return null;
  return answer.headers.get("Content-Type")?.startsWith("application/json") ? answer.json() : answer.text();
}

/** Leave for the login page, which comes back here. */
export function goToLogin() {
  location.assign(`/ui/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/**
 * Return the query string of *values*, without those that are empty.
 * @param {Record<string, string | number | boolean | null | undefined>} values
 */
export function query(values) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) found.set(name, String(value));
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}

/** @param {Response} answer */
async function readError(answer) {
  let detail;
  try {
    detail = (await answer.json()).detail;
  } catch {
    detail = undefined;
  }
  if (Array.isArray(detail)) {
    const words = detail.map((problem) => `${problem.loc.slice(1).join(".") || problem.loc[0]}: ${problem.msg}`);
    return new ApiError(answer.status, words.join("; "), detail);
  }
  return new ApiError(answer.status, typeof detail === "string" ? detail : `${answer.status} ${answer.statusText}`);
}
