using System.Text;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Hypervisor.Ctl.Errors;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Specs;

/// <summary>
/// Instances or groups written down in YAML (or JSON, which is YAML): one per document, in the form that "instance get -o yaml" prints.
/// What the server sets (placement, status, uid, versions, times) is left out when such a file is used again.
/// </summary>
internal static class SpecFile
{
    private const string GroupLabel = "hypervisor.zixiao/group";

    private static readonly JsonParser Parser = new(JsonParser.Settings.Default);

    /// <summary>Reads all documents; "-" is standard input.</summary>
    /// <exception cref="CtlException">Anything is wrong with the file; every mistake is named with its line.</exception>
    public static IReadOnlyList<CreateInstanceRequest> Read(CtlEnvironment environment, string path) =>
        Read<Instance, CreateInstanceRequest>(environment, path, Instance.Descriptor, ToRequest);

    /// <summary>As <see cref="Read"/>.</summary>
    public static IReadOnlyList<CreateGroupRequest> ReadGroups(CtlEnvironment environment, string path) =>
        Read<Group, CreateGroupRequest>(environment, path, Group.Descriptor, ToRequest);

    private static List<TRequest> Read<TObject, TRequest>(
        CtlEnvironment environment, string path, MessageDescriptor type, Func<TObject, TRequest> toRequest)
        where TObject : IMessage, new()
    {
        var text = ReadText(environment, path);
        var fileName = path == "-" ? "stdin" : path;
        var requests = new List<TRequest>();
        var errors = new List<string>();
        foreach (var document in Split(text))
        {
            try
            {
                var yaml = YamlDocument.Load(document, fileName);
                if (yaml.Root.Entries.Count > 0)
                {
                    var reader = new SpecReader(fileName);
                    var json = reader.ToJson(yaml.Root, type);
                    errors.AddRange(reader.Errors);
                    if (reader.Errors.Count == 0)
                    {
                        requests.Add(toRequest(Parser.Parse<TObject>(json)));
                    }
                }
            }
            catch (InvalidYamlException exception)
            {
                errors.AddRange(exception.Errors);
            }
            catch (InvalidProtocolBufferException exception)
            {
                errors.Add($"{fileName}: {exception.Message}");
            }
        }

        if (errors.Count > 0)
        {
            throw CtlException.Usage($"{fileName} is not a valid specification; nothing was sent.", string.Join('\n', errors.Select(Output.TerminalText.Clean)));
        }

        return requests.Count > 0 ? requests : throw CtlException.Usage($"{fileName} holds no {type.Name.ToLowerInvariant()}.");
    }

    private static CreateInstanceRequest ToRequest(Instance instance)
    {
        var metadata = instance.Metadata ?? new ObjectMeta();
        var spec = instance.Spec ?? new InstanceSpec();
        spec.RestartGeneration = 0;
        spec.ImageDigest = "";

        // A member of a group is used as a pattern: what comes of it belongs to none.
        metadata.Labels.Remove(GroupLabel);
        return new()
        {
            Project = metadata.Project,
            Name = metadata.Name,
            Labels = { metadata.Labels },
            Annotations = { metadata.Annotations },
            Spec = spec,
        };
    }

    private static CreateGroupRequest ToRequest(Group group)
    {
        var metadata = group.Metadata ?? new ObjectMeta();
        return new()
        {
            Project = metadata.Project,
            Name = metadata.Name,
            Labels = { metadata.Labels },
            Annotations = { metadata.Annotations },
            Spec = group.Spec ?? new(),
        };
    }

    /// <summary>The documents of a stream, each with as many empty lines before it that its lines keep their numbers.</summary>
    private static IEnumerable<string> Split(string text)
    {
        var lines = text.ReplaceLineEndings("\n").Split('\n');
        var document = new StringBuilder();
        for (var i = 0; i < lines.Length; i++)
        {
            // A line that begins with "---" ends a document wherever it stands (YAML 1.2, 9.1.2).
            if (lines[i].StartsWith("---", StringComparison.Ordinal) && (lines[i].Length == 3 || lines[i][3] is ' ' or '\t'))
            {
                yield return document.ToString();
                document.Clear().Append('\n', i).Append("   ").AppendLine(lines[i][3..]);
            }
            else
            {
                document.Append(lines[i]).Append('\n');
            }
        }

        yield return document.ToString();
    }

    private static string ReadText(CtlEnvironment environment, string path)
    {
        using var stream = path == "-" ? environment.OpenInput() : InputFile.Open(path);
        var bytes = new byte[Limits.LargestSpecBytes + 1];
        var length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        if (length == bytes.Length)
        {
            throw CtlException.Usage($"{path} is larger than {Limits.LargestSpecBytes / 1024 / 1024} MiB.");
        }

        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes, 0, length);
        }
        catch (DecoderFallbackException)
        {
            throw CtlException.Usage($"{path} is not UTF-8 text.");
        }
    }
}
