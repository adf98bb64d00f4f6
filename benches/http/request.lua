-- Every request as the bench says: `wrk -s request.lua URL -- METHOD [FILE]`, the file being the body.
function init(arguments)
  wrk.method = arguments[1]
  if arguments[2] then
    local file = assert(io.open(arguments[2], "rb"))
    wrk.body = file:read("*a")
    file:close()
  end
end
