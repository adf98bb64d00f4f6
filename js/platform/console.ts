// The worker's console: inspected in V8, printed by the runtime's log with the request it belongs to.

(function () {
const { core } = __bootstrap;
const { op_console_print, op_report_uncaught } = core.ops;
const { Console, setNoColorFns } = core.loadExtScript("ext:deno_web/01_console.js");

// The log decides about colour; what it is given is plain.
const withoutColour = () => true;
setNoColorFns(withoutColour, withoutColour);

// The invocation that is running, or 0: dispatch stores its id as the async context, which V8 carries across awaits.
function currentInvocation(): number {
  const context = core.getAsyncContext();
  return typeof context === "number" ? context : 0;
}

const console = new Console((message: string, level: number) => {
  op_console_print(currentInvocation(), level, message);
});

// Logs an error nobody caught. The request it belongs to is not failed by it.
function reportUncaught(error: unknown, isRejection: boolean) {
  op_report_uncaught(currentInvocation(), error, isRejection);
}

return { console, currentInvocation, reportUncaught };
})();
