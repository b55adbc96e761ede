using System.Text.Json;
using Google.Protobuf;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Rest;

namespace Hypervisor.Bench.Replays;

/// <summary>
/// Reads a trace of JSON lines: <c>{"at": "90s", "create": …}</c> with the API's CreateInstanceRequest, or <c>"delete"</c> with its
/// DeleteInstanceRequest (by name). A create is judged as the API judges it.
/// </summary>
internal sealed class DemandTraceReader(string fileName)
{
    /// <summary>At some 200 bytes each in memory.</summary>
    public const int MaxLines = 2_000_000;

    /// <summary>A request of the API is smaller.</summary>
    public const int MaxLineCharacters = 64 * 1024;

    /// <summary>Enough to see what is wrong with a trace as a whole.</summary>
    private const int MaxErrors = 20;

    private readonly List<string> _errors = [];
    private readonly List<DemandEvent> _events = [];
    private readonly Dictionary<(string Project, string Name), int> _living = [];
    private readonly Dictionary<(string, string), Demand> _demands = [];
    private int _line;
    private int _instances;

    /// <exception cref="ConfigurationException">What is wrong, each with file, line, field and remedy.</exception>
    public static DemandTrace LoadFile(string path)
    {
        try
        {
            return new DemandTraceReader(path).Read(File.ReadLines(path));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException([$"--trace: cannot be read ({DisplayText.Of(path)}) – check that the file exists and its permissions"]);
        }
    }

    /// <inheritdoc cref="LoadFile"/>
    public DemandTrace Read(IEnumerable<string> lines)
    {
        foreach (var text in lines)
        {
            _line++;
            if (_line > MaxLines)
            {
                Fail("", $"is longer than {MaxLines} lines", "replay it in parts");
                break;
            }

            if (text.Length > MaxLineCharacters)
            {
                Fail("", $"has {text.Length} characters", $"at most {MaxLineCharacters} in a line");
            }
            else if (!string.IsNullOrWhiteSpace(text))
            {
                Read(text);
            }

            if (_errors.Count >= MaxErrors)
            {
                break;
            }
        }

        return _errors.Count > 0 ? throw new ConfigurationException(_errors) : new(_events);
    }

    private void Read(string text)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(text, new() { MaxDepth = 32 });
        }
        catch (JsonException exception)
        {
            Fail("", $"is not JSON (column {exception.BytePositionInLine + 1})", "write one object in each line");
            return;
        }

        using (document)
        {
            if (document.RootElement is not { ValueKind: JsonValueKind.Object } line)
            {
                Fail("", $"is {document.RootElement.ValueKind.ToString().ToLowerInvariant()}", "write one object in each line");
                return;
            }

            if (line.EnumerateObject().Select(property => property.Name).FirstOrDefault(name => name is not ("at" or "create" or "delete")) is { } unknown)
            {
                Fail(DisplayText.Of(unknown), "is not a known key", "write at, and create or delete");
                return;
            }

            var (create, delete) = (line.TryGetProperty("create", out var created), line.TryGetProperty("delete", out var deleted));
            if (create == delete)
            {
                Fail("create", create ? "is given besides delete" : "is missing, and delete too", "write one of them in each line");
            }
            else if (ReadTime(line) is { } at)
            {
                if (create)
                {
                    Create(at, created);
                }
                else
                {
                    Delete(at, deleted);
                }
            }
        }
    }

    private TimeSpan? ReadTime(JsonElement line)
    {
        if (!line.TryGetProperty("at", out var at) || at.ValueKind != JsonValueKind.String || !Units.TryParseDuration(at.GetString()!, out var time))
        {
            Fail("at", at.ValueKind == JsonValueKind.Undefined ? "is missing" : $"is not a duration ({DisplayText.Of(at.GetRawText())})", "write the time since the beginning as \"90s\" or \"1h30m\"");
            return null;
        }

        if (_events.Count > 0 && time < _events[^1].At)
        {
            Fail("at", $"is before the line above ({Units.Format(time)} after {Units.Format(_events[^1].At)})", "order the lines by time");
            return null;
        }

        return time;
    }

    private void Create(TimeSpan at, JsonElement element)
    {
        if (Parse<CreateInstanceRequest>("create", element) is not { } request)
        {
            return;
        }

        var violations = new FieldViolations();
        var project = CreateValidation.Check(request, violations);
        foreach (var violation in violations.All)
        {
            _errors.Add($"{fileName}:{_line}: create.{violation.Field}: {violation.Description}");
        }

        if (violations.Any)
        {
            return;
        }

        if (!_living.TryAdd((project, request.Name), _instances))
        {
            Fail("create.name", $"is there already ({request.Name})", "delete it before it is created again, or give it another name");
            return;
        }

        _events.Add(new(at, _instances++, DemandOf(project, request)));
    }

    private void Delete(TimeSpan at, JsonElement element)
    {
        if (Parse<DeleteInstanceRequest>("delete", element) is not { } request)
        {
            return;
        }

        var violations = new FieldViolations();
        var project = Projects.Resolve(request.Project, violations);
        if (!_living.Remove((project, request.Instance), out var instance))
        {
            Fail("delete.instance", $"is not there ({DisplayText.Of(request.Instance)})", "write the name of one that was created in a line above");
            return;
        }

        _events.Add(new(at, instance, null));
    }

    /// <summary>Those that ask for the same share it: of a million instances there are some hundred.</summary>
    private Demand DemandOf(string project, CreateInstanceRequest request)
    {
        request.Name = request.RequestId = "";
        request.Annotations.Clear();
        var key = (project, request.ToByteString().ToBase64());
        return _demands.TryGetValue(key, out var known)
            ? known
            : _demands[key] = new(project, request.Labels.ToDictionary(), SpecDefaults.Fill(request.Spec));
    }

    private T? Parse<T>(string key, JsonElement element)
        where T : class, IMessage, new()
    {
        try
        {
            return (T)ProtoJson.Parser.Parse(element.GetRawText(), new T().Descriptor);
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or InvalidJsonException)
        {
            Fail(key, $"is not a {typeof(T).Name} ({DisplayText.Of(exception.Message)})", "write it as the API takes it");
            return null;
        }
    }

    private void Fail(string field, string what, string remedy) =>
        _errors.Add($"{fileName}:{_line}: {(field.Length > 0 ? $"{field}: " : "")}{what} – {remedy}");
}
