// A file on its way to the daemon, with how far it has come. `fetch` does not tell that.

import { ApiError, goToLogin } from "./api.js";

/**
 * Send *file* to *path*; *onPercent* hears how far it has come.
 * @param {string} path
 * @param {File} file
 * @param {(percent: number) => void} onPercent
 * @returns {Promise<void>}
 */
export function upload(path, file, onPercent) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", path);
    request.upload.onprogress = (event) => event.lengthComputable && onPercent(Math.floor((event.loaded * 100) / event.total));
    request.onerror = () => reject(new ApiError(0, "The upload broke off: the daemon does not answer."));
    request.onload = () => {
      if (request.status === 401) goToLogin();
      if (request.status < 300) return resolve();
      return reject(new ApiError(request.status, readDetail(request.responseText)));
    };
    onPercent(0);
    request.send(file);
  });
}

/** @param {string} text */
function readDetail(text) {
  try {
    return String(JSON.parse(text).detail);
  } catch {
    return text;
  }
}
