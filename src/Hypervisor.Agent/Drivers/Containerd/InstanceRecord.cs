using System.Globalization;
using Containerd.Services.Containers.V1;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>What the driver keeps about an instance in containerd's own record of the container.</summary>
/// <param name="CpuMillicores">The limit, set when the task starts; 0 is none.</param>
/// <param name="Run">What a run of its process is started with.</param>
/// <param name="Exit">Of the last run; kept here because the shim that knows it first does not survive a reboot.</param>
internal sealed record InstanceRecord(
    string Id,
    Epoch Epoch,
    string Name,
    string Project,
    long Generation,
    long RestartGeneration,
    string ImageDigest,
    long CpuMillicores,
    RestartCount Restarts,
    RunSettings Run,
    RecordedExit? Exit)
{
    /// <summary>In force; null in the record of an agent that did not note them.</summary>
    public InstanceLimits? Limits { get; init; }

    /// <summary>Of the root disk; null without a limit.</summary>
    public IoRate? Rate { get; init; }

    /// <summary>The image's, for a stop that names none; 0 where it names none either.</summary>
    public int StopSignal { get; init; }

    public const string UidLabel = Prefix + "uid";
    public const string EpochLabel = Prefix + "epoch";
    public const string ExitLabel = Prefix + "exit";
    public const string RestartsLabel = Prefix + "restarts";
    public const string StreakLabel = Prefix + "restart-streak";

    /// <summary>The whole assignment, for adoption by an agent that was never told of it.</summary>
    public const string AssignmentExtension = Prefix + "assignment";

    /// <summary>Keeps containerd's collector away from what nothing else refers to.</summary>
    public const string GcRootLabel = "containerd.io/gc.root";

    public const string CpuLabel = Prefix + "cpu-millicores";
    public const string MemoryLabel = Prefix + "memory-bytes";
    public const string PidsLabel = Prefix + "pids-limit";

    private const string Prefix = "hypervisor.zixiao/";

    public static InstanceRecord Of(InstanceDefinition definition) => new(
        definition.Assignment.Uid,
        definition.Epoch,
        definition.Assignment.Name,
        definition.Assignment.Project,
        definition.Assignment.Generation,
        definition.Assignment.Spec.RestartGeneration,
        definition.ImageDigest,
        definition.Assignment.Spec.Resources?.CpuMillicores ?? 0,
        default,
        RunSettings.Of(definition.Assignment.Spec),
        Exit: null)
    {
        Limits = InstanceLimits.Of(definition.Assignment.Spec),
        Rate = IoRate.Of(definition.Assignment.Spec.DiskRates),
    };

    /// <summary>What can be read of a container; one without our labels counts as epoch 0, so that anyone may replace it.</summary>
    public static InstanceRecord Read(Container container)
    {
        var labels = container.Labels;
        return new InstanceRecord(
            container.Id,
            new Epoch(Number("epoch")),
            Text("name"),
            Text("project"),
            Number("generation"),
            Number("restart-generation"),
            Text("image-digest"),
            Number("cpu-millicores"),
            new RestartCount((int)Number("restarts"), (int)Number("restart-streak")),
            RunSettings.Parse(Text("run")),
            RecordedExit.Parse(labels.TryGetValue(ExitLabel, out var exit) ? exit : ""))
        {
            Limits = labels.ContainsKey(MemoryLabel) ? new(Number("cpu-millicores"), Number("memory-bytes"), Number("pids-limit")) : null,
            Rate = IoRate.Parse(Text("disk-rates")),
            StopSignal = (int)Number("stop-signal"),
        };

        string Text(string name) => labels.TryGetValue(Prefix + name, out var value) ? value : "";

        long Number(string name) => long.TryParse(Text(name), NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : 0;
    }

    public void WriteTo(IDictionary<string, string> labels)
    {
        labels[UidLabel] = Id;
        labels[EpochLabel] = Text(Epoch);
        labels[Prefix + "name"] = Name;
        labels[Prefix + "project"] = Project;
        labels[Prefix + "generation"] = Generation.ToString(CultureInfo.InvariantCulture);
        labels[Prefix + "restart-generation"] = RestartGeneration.ToString(CultureInfo.InvariantCulture);
        labels[Prefix + "image-digest"] = ImageDigest;
        labels[Prefix + "run"] = Run.ToString();
        labels[RestartsLabel] = Restarts.Total.ToString(CultureInfo.InvariantCulture);
        labels[StreakLabel] = Restarts.Streak.ToString(CultureInfo.InvariantCulture);
        labels[CpuLabel] = CpuMillicores.ToString(CultureInfo.InvariantCulture);
        if (Limits is { } limits)
        {
            labels[MemoryLabel] = limits.MemoryBytes.ToString(CultureInfo.InvariantCulture);
            labels[PidsLabel] = limits.Pids.ToString(CultureInfo.InvariantCulture);
        }

        if (Rate is not null)
        {
            labels[Prefix + "disk-rates"] = Rate.ToString();
        }

        if (StopSignal != 0)
        {
            labels[Prefix + "stop-signal"] = StopSignal.ToString(CultureInfo.InvariantCulture);
        }

        if (Exit is not null)
        {
            labels[ExitLabel] = Exit.ToString();
        }
    }

    public static string Text(Epoch epoch) => epoch.Value.ToString(CultureInfo.InvariantCulture);

    /// <summary>Null for a container without our extension, or with one that cannot be read.</summary>
    public static Assignment? MadeFrom(Container container)
    {
        if (!container.Extensions.TryGetValue(AssignmentExtension, out var packed))
        {
            return null;
        }

        try
        {
            return Assignment.Parser.ParseFrom(packed.Value);
        }
        catch (InvalidProtocolBufferException)
        {
            // Then it cannot be adopted; its labels still say which epoch removes it.
            return null;
        }
    }

    public static Any Pack(Assignment assignment) =>
        new() { TypeUrl = "type.googleapis.com/hypervisor.v1.Assignment", Value = assignment.ToByteString() };
}

/// <summary>How a run ended, as one label.</summary>
internal sealed record RecordedExit(int Code, bool OutOfMemory, DateTimeOffset? At)
{
    /// <summary>
    /// containerd reports 128 + n for signal n, so a process that itself exits with, say, 137 cannot be told from one that was
    /// killed; the numbers above the last signal are exits for certain.
    /// </summary>
    public int Signal => Code is > 128 and <= 128 + 64 ? Code - 128 : 0;

    /// <summary>A run that ended well did so although some child was killed for memory.</summary>
    public ExitStatus ToStatus() => new() { Code = Code, Signal = Signal, OutOfMemory = OutOfMemory && Code != 0 };

    public static RecordedExit? Parse(string text)
    {
        var parts = text.Split(' ');
        return parts.Length == 3
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var code)
            && DateTimeOffset.TryParse(parts[2], CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind, out var at)
            ? new RecordedExit(code, parts[1] == "oom", at == DateTimeOffset.UnixEpoch ? null : at)
            : null;
    }

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{Code} {(OutOfMemory ? "oom" : "-")} {At ?? DateTimeOffset.UnixEpoch:O}");
}
