using System.Text;
using System.Text.Json.Nodes;

namespace Hypervisor.FirecrackerStandIn.Guests;

/// <summary>QMP; one command at a time.</summary>
internal sealed class Monitor(Stream stream) : IDisposable
{
    private readonly StreamReader _output = new(stream);

    public void Dispose() => _output.Dispose();

    public async Task OpenAsync()
    {
        await ReadAsync();
        await CallAsync("qmp_capabilities");
    }

    /// <exception cref="FaultException">QEMU refused.</exception>
    public async Task<JsonNode?> CallAsync(string command, JsonObject? arguments = null)
    {
        var request = new JsonObject { ["execute"] = command };
        if (arguments is not null)
        {
            request["arguments"] = arguments;
        }

        await stream.WriteAsync(Encoding.UTF8.GetBytes(request.ToJsonString() + "\n"));
        while (true)
        {
            var answer = await ReadAsync();
            if (answer["error"] is { } error)
            {
                throw new FaultException($"QEMU: {error["desc"]}");
            }

            // Anything else is an event.
            if (answer.ContainsKey("return"))
            {
                return answer["return"];
            }
        }
    }

    private async Task<JsonObject> ReadAsync() => await _output.ReadLineAsync() is { } line
        ? JsonNode.Parse(line)!.AsObject()
        : throw new FaultException("QEMU has ended");
}
