// What a client that has the current version already is told: a status and headers.
const etag = '"5f3a-61c9d1e2"';
const headers = { etag, "cache-control": "public, max-age=60", "last-modified": "Tue, 24 Nov 2026 12:00:00 GMT", vary: "accept-encoding" };

export default {
  fetch(request) {
    if (request.headers.get("if-none-match") === etag) return new Response(null, { status: 304, headers });
    return new Response("the current version", { headers });
  },
};
