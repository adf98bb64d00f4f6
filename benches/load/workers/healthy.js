// `/` answers at once, `/wait` after ten milliseconds.
export default {
  async fetch(request) {
    if (request.url.endsWith("/wait")) await scheduler.wait(10);
    return new Response("Hello World!");
  },
};
