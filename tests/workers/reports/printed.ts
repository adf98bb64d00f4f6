class Refused extends Error {
  code = "E_REFUSED";
}

function fails(): Error {
  return new Error("with a place");
}

export default {
  async fetch(): Promise<Response> {
    console.log("at the desk (ext:204)");
    console.log("    at list (ext:core/01_core.js:1:1)");
    console.log("first\n    at second (node:fs:1)\nthird");
    console.log({ stack: "at x (ext:y)" });
    console.log(Object.assign(new Error("with-props"), { status: 418 }));
    console.log(new Error("outer", { cause: new Error("inner") }));
    console.log(new AggregateError([new Error("one"), new Error("two")], "many"));
    console.log(new Refused("no"));
    console.log(fails());
    console.trace("traced");
    console.log("the last line");
    return new Response("ok");
  },
};
