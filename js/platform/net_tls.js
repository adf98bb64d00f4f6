// Stands where deno_fetch expects deno_net's key loading, which only `Deno.createHttpClient` would reach.
(function () {
return {
  loadTlsKeyPair() {
    throw new TypeError("client certificates are not supported");
  },
};
})();
