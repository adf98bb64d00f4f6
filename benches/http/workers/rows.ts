// `POST /COUNT` puts rows into the recipe's table, `GET /COUNT` answers with so many of them.
const FILL = `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
  INSERT INTO items (name, description) SELECT 'Item ' || n, 'one of many rows' FROM numbers`;
const LIST = "SELECT * FROM items ORDER BY id LIMIT ?";

export default {
  async fetch(request, env): Promise<Response> {
    const count = Number(new URL(request.url).pathname.slice(1));
    if (request.method === "POST") {
      await env.DB.prepare(FILL).bind(count).run();
      return new Response("filled");
    }
    const { results } = await env.DB.prepare(LIST).bind(count).all();
    return Response.json(results);
  },
};
