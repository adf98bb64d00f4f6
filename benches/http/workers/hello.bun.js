import worker from "./hello.js";

export default { hostname: "127.0.0.1", port: Number(process.env.PORT), fetch: worker.fetch };
