(function () { return { createCache: () => ({}) }; })();
