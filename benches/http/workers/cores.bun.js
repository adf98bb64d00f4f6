// Bun's way to use all cores: one process a core, all on one port.
const processes = Array.from({ length: navigator.hardwareConcurrency }, () =>
  Bun.spawn([process.execPath, "run", `${import.meta.dir}/plain.bun.js`], {
    env: { ...process.env, REUSE_PORT: "1" },
    stdio: ["ignore", "inherit", "inherit"],
  }),
);
await Promise.race(processes.map((each) => each.exited));
process.exit(1);
