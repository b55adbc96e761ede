using System.Text.Json;
using System.Text.Json.Nodes;
using Hypervisor.FirecrackerStandIn.Contract;
using Hypervisor.FirecrackerStandIn.Guests;

namespace Hypervisor.FirecrackerStandIn;

/// <summary>
/// The machine behind the API: what was configured, in which phase it is, and what is refused. One call at a time, as in Firecracker.
/// </summary>
internal sealed partial class Microvm(string id, string version, IGuest guest) : IAsyncDisposable
{
    private enum MachineState
    {
        NotStarted,
        Running,
        Paused,
    }

    private readonly SemaphoreSlim _one = new(1, 1);
    private readonly JsonObject _settings = [];
    private MachineState _state;
    private bool _configured;
    private JsonNode? _metadata;
    private VsockProxy? _vsock;

    /// <summary>What relative paths are relative to; the working folder of the process, but for tests that share theirs.</summary>
    public string Folder { get; init; } = "";

    /// <returns>The answer's body, or null for none.</returns>
    /// <exception cref="FaultException">It is refused.</exception>
    public async Task<JsonNode?> CallAsync(string method, string path, byte[] body)
    {
        await _one.WaitAsync();
        try
        {
            foreach (var operation in Operations.All)
            {
                if (operation.Method == method && operation.Match(path) is { } name)
                {
                    var content = Read(operation, body);
                    CheckPhase(operation);
                    CheckName(operation, name, content);
                    return await PerformAsync(operation, name, content);
                }
            }

            throw new FaultException($"Invalid request method and/or path: {method} {path}.");
        }
        finally
        {
            _one.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        _vsock?.Dispose();
        await guest.DisposeAsync();
        _one.Dispose();
    }

    private static JsonObject? Read(Operation operation, byte[] body)
    {
        if (body.Length == 0)
        {
            return operation.Body is null || !operation.BodyRequired ? null : throw new FaultException($"Empty {operation.Method} request.");
        }

        if (operation.Body is null)
        {
            throw new FaultException($"{operation.Method} request cannot have a body.");
        }

        try
        {
            using var document = JsonDocument.Parse(body);
            return BodyCheck.Check(document.RootElement, operation.Body) is { } problem
                ? throw new FaultException($"An error occurred when deserializing the json body of a request: {problem}.")
                : JsonNode.Parse(body)!.AsObject();
        }
        catch (JsonException error)
        {
            throw new FaultException($"An error occurred when deserializing the json body of a request: {error.Message}");
        }
    }

    private void CheckPhase(Operation operation)
    {
        if (operation.Phase == Phase.Before && _state != MachineState.NotStarted)
        {
            throw new FaultException("The requested operation is not supported after starting the microVM.");
        }

        if (operation.Phase == Phase.After && _state == MachineState.NotStarted)
        {
            throw new FaultException("The requested operation is not supported before starting the microVM.");
        }
    }

    /// <summary>The part of the path in braces is the field of that name, and an identifier.</summary>
    private static void CheckName(Operation operation, string name, JsonObject? content)
    {
        if (name.Length == 0)
        {
            return;
        }

        if (!name.All(character => char.IsAsciiLetterOrDigit(character) || character == '_'))
        {
            throw new FaultException("API Resource IDs can only contain alphanumeric characters and underscores.");
        }

        var field = operation.Path[(operation.Path.IndexOf('{', StringComparison.Ordinal) + 1)..].TrimEnd('}');
        if ((string?)content![field] != name)
        {
            throw new FaultException($"The id from the path [{name}] does not match the id from the body [{content[field]}]!");
        }
    }

    private async Task<JsonNode?> PerformAsync(Operation operation, string name, JsonObject? content)
    {
        switch (operation.Method, operation.Path)
        {
            case ("GET", "/"):
                return new JsonObject
                {
                    ["app_name"] = "Firecracker",
                    ["id"] = id,
                    ["state"] = _state == MachineState.NotStarted ? "Not started" : _state.ToString(),
                    ["vmm_version"] = version,
                };
            case ("GET", "/version"):
                return new JsonObject { ["firecracker_version"] = version };
            case ("GET", "/vm/config"):
                return FullConfiguration();
            case ("GET", "/machine-config"):
                return MachineConfiguration();
            case ("PUT", "/actions"):
                await ActAsync((string)content!["action_type"]!);
                return null;
            case ("PATCH", "/vm"):
                await SetStateAsync((string)content!["state"]! == "Paused");
                return null;
            case ("PUT", "/snapshot/create"):
                await SaveAsync(content!);
                return null;
            case ("PUT", "/snapshot/load"):
                await LoadAsync(content!);
                return null;
            case ("GET" or "PUT" or "PATCH", "/mmds"):
                return Metadata(operation.Method, content);
            case ("GET", _):
                return Look(operation.Path);
            case ("PATCH", _):
                await ChangeAsync(operation.Path, name, content);
                return null;
            default:
                Configure(operation.Path, content!);
                return null;
        }
    }

    private async Task ActAsync(string action)
    {
        switch (action)
        {
            case "InstanceStart":
                if (_state != MachineState.NotStarted)
                {
                    throw new FaultException("The requested operation is not supported after starting the microVM.");
                }

                if (_settings["boot-source"] is not JsonObject boot)
                {
                    throw new FaultException("Cannot start microvm without kernel configuration.");
                }

                CheckKernel(At((string)boot["kernel_image_path"]!));
                await guest.StartAsync(FullConfiguration());
                _state = MachineState.Running;
                break;
            case "FlushMetrics":
                RequireStarted();
                if (_settings["metrics"] is not JsonObject metrics)
                {
                    throw new FaultException("Cannot flush metrics: the logger was not initialized.");
                }

                await File.AppendAllTextAsync(At((string)metrics["metrics_path"]!), "{\"stand_in\":true}\n");
                break;
            default:
                RequireStarted();
                await guest.PressCtrlAltDelAsync();
                break;
        }
    }

    private async Task SetStateAsync(bool paused)
    {
        if (paused)
        {
            await guest.PauseAsync();
        }
        else
        {
            await guest.ResumeAsync();
        }

        _state = paused ? MachineState.Paused : MachineState.Running;
    }

    private void RequireStarted()
    {
        if (_state == MachineState.NotStarted)
        {
            throw new FaultException("The requested operation is not supported before starting the microVM.");
        }
    }

    private JsonNode? Metadata(string method, JsonObject? content)
    {
        if (_settings["mmds-config"] is null && method != "GET")
        {
            throw new FaultException("The MMDS data store is not initialized.");
        }

        switch (method)
        {
            case "PUT":
                _metadata = content!.DeepClone();
                return null;
            case "PATCH":
                var store = _metadata?.AsObject() ?? throw new FaultException("The MMDS data store is not initialized.");
                foreach (var (key, value) in content!)
                {
                    // RFC 7396: null removes.
                    store.Remove(key);
                    if (value is not null)
                    {
                        store[key] = value.DeepClone();
                    }
                }

                return null;
            default:
                return _metadata?.DeepClone() ?? new JsonObject();
        }
    }

    private string At(string path) => Path.Combine(Folder, path);

    private static void CheckKernel(string path)
    {
        Span<byte> magic = stackalloc byte[4];
        using var file = File.OpenHandle(path);
        if (RandomAccess.Read(file, magic, 0) != 4 || !magic.SequenceEqual("\u007fELF"u8))
        {
            throw new FaultException(
                "Cannot load kernel due to invalid memory configuration or invalid kernel image: Kernel Loader: failed to load ELF kernel image: Invalid Elf magic number");
        }
    }
}
