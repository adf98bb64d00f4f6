using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "hello", worker = .hello)],
  # The port comes from the command line.
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "hello")],
);

const hello :Workerd.Worker = (
  modules = [(name = "hello.js", esModule = embed "hello.js")],
  compatibilityDate = "2026-01-01",
);
