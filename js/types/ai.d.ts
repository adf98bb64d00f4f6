// `env.AI`: models that run on this machine, or at a service the config names, with the surface of Cloudflare Workers AI.

type AiRole = "system" | "user" | "assistant" | "tool";

/** A call the model asks for. */
interface AiToolCall {
  name: string;
  arguments: any;
}

/** One message of a conversation. */
interface AiMessage {
  role: AiRole | (string & {});
  content: string;
  name?: string;
  /** The call that a message of a tool answers. */
  tool_call_id?: string;
  tool_calls?: AiToolCall[];
}

/** A function the model may ask to be called; `parameters` is a JSON Schema. */
type AiTool =
  | { name: string; description?: string; parameters: unknown }
  | { type: "function" | (string & {}); function: { name: string; description?: string; parameters?: unknown } };

/** What text is made of: `prompt` or `messages`. */
interface AiTextGenerationInput {
  prompt?: string;
  messages?: AiMessage[];
  /** `prompt` is continued as it is. */
  raw?: boolean;
  /** The answer while it is made, as server-sent events. */
  stream?: boolean;
  /** Default 256. */
  max_tokens?: number;
  /** 0 to 5, default 0.6. */
  temperature?: number;
  top_p?: number;
  top_k?: number;
  seed?: number;
  repetition_penalty?: number;
  frequency_penalty?: number;
  presence_penalty?: number;
  tools?: AiTool[];
  /** Not together with `stream`. */
  response_format?: { type: "json_object" } | { type: "json_schema"; json_schema: unknown };
}

interface AiTextGenerationOutput {
  /** Text; in JSON mode a value. */
  response: any;
  tool_calls?: AiToolCall[];
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
}

interface AiTextEmbeddingsInput {
  text: string | string[];
  pooling?: "mean" | "cls";
}

interface AiTextEmbeddingsOutput {
  /** How many vectors, and how long each is. */
  shape: [number, number];
  data: number[][];
  pooling: "mean" | "cls";
}

interface AiOptions {
  /** Ends the call, or the stream that came of it. */
  signal?: AbortSignal;
  /** The answer as a `Response`, also for an error. */
  returnRawResponse?: boolean;
  /** Accepted, and without an effect here. */
  tags?: string[];
  /** Accepted, and without an effect here. */
  extraHeaders?: object;
}

interface AiModelsSearchParams {
  author?: string;
  page?: number;
  per_page?: number;
  search?: string;
  task?: string;
}

interface AiModelsSearchObject {
  id: string;
  source: number;
  name: string;
  /** For a model whose files are not there: how to get them. */
  description: string;
  task: { id: string; name: string; description: string };
  tags: string[];
  properties: { property_id: string; value: string }[];
}

/** Runs models. Failures are errors whose message begins with the number that Workers AI has for them. */
interface Ai {
  run(model: string, inputs: AiTextEmbeddingsInput, options?: AiOptions & { returnRawResponse?: false }): Promise<AiTextEmbeddingsOutput>;
  run(
    model: string,
    inputs: AiTextGenerationInput & { stream: true },
    options?: AiOptions & { returnRawResponse?: false },
  ): Promise<ReadableStream<Uint8Array>>;
  run(
    model: string,
    inputs: AiTextGenerationInput & { stream?: false },
    options?: AiOptions & { returnRawResponse?: false },
  ): Promise<AiTextGenerationOutput>;
  run(model: string, inputs: object, options: AiOptions & { returnRawResponse: true }): Promise<Response>;
  run(model: string, inputs: object, options?: AiOptions): Promise<any>;
  /** The models that can be run, whether or not their files are there. */
  models(params?: AiModelsSearchParams): Promise<AiModelsSearchObject[]>;
  /** Of the last call that ended. */
  readonly lastRequestId: string | null;
  readonly lastRequestHttpStatusCode: number | null;
  /** The number of its failure. */
  readonly lastRequestInternalStatusCode: number | null;
  readonly aiGatewayLogId: null;
}

/** `env.AI` under the name of the docs. */
interface AI extends Ai {}
