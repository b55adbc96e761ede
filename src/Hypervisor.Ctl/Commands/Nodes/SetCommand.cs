using System.CommandLine;
using System.Globalization;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>Sets how much may be placed on a node.</summary>
internal sealed class SetCommand : ChangeCommand
{
    private readonly Option<double> _overcommitCpu = Factor("--overcommit-cpu", "How many times its CPUs may be placed, 1 to 16");
    private readonly Option<double> _overcommitMemory = Factor("--overcommit-memory", "How many times its memory may be placed, 1 to 16");
    private readonly Option<long> _reserveCpus = CommonOptions.Amount(
        "--reserve-cpus", "CPUs kept for the machine itself, for example 2, 0.5 or 500m; 0 keeps none", "COUNT", TryMillicores);

    private readonly Option<long> _reserveMemory = CommonOptions.Amount(
        "--reserve-memory", "Memory kept for the machine itself: a number of MiB, or 512MiB, 2GiB; 0 keeps none", "SIZE", CommonOptions.PlainIsMiB);

    private readonly Option<long> _reserveDisk = CommonOptions.Amount(
        "--reserve-disk", "Storage kept for the machine itself: a number of MiB, or 10GiB; 0 keeps none", "SIZE", CommonOptions.PlainIsMiB);

    private readonly Option<string[]> _reserveDevice = DeviceFlag.Of("--reserve-device", "Device kept for the machine itself, one or COUNT");

    protected override void DeclareChange(Command command)
    {
        foreach (var option in (Option[])[_overcommitCpu, _overcommitMemory, _reserveCpus, _reserveMemory, _reserveDisk, _reserveDevice])
        {
            command.Add(option);
        }
    }

    protected override NodeChange Read(Invocation invocation)
    {
        var changes = new List<(string Path, Action<NodeSpec> Set)>();
        var devices = DeviceFlag.Parse("--reserve-device", invocation.Get(_reserveDevice) ?? []);
        Add(_overcommitCpu, "spec.overcommit", (spec, factor) => spec.Overcommit.Cpu = factor);
        Add(_overcommitMemory, "spec.overcommit", (spec, factor) => spec.Overcommit.Memory = factor);
        Add(_reserveCpus, "spec.reserved", (spec, amount) => spec.Reserved.CpuMillicores = amount);
        Add(_reserveMemory, "spec.reserved", (spec, amount) => spec.Reserved.MemoryBytes = amount);
        Add(_reserveDisk, "spec.reserved", (spec, amount) => spec.Reserved.DiskBytes = amount);
        Add(_reserveDevice, "spec.reserved", (spec, _) => DeviceFlag.Merge(spec.Reserved.Devices, devices));
        if (changes.Count == 0)
        {
            throw CtlException.Usage("Nothing to change: no flag was given.", "For example --overcommit-cpu 4 or --reserve-memory 2GiB.");
        }

        return new([.. changes.Select(change => change.Path).Distinct()], Apply, (_, after) => Outcome(after.Spec ?? new()));

        void Add<T>(Option<T> option, string path, Action<NodeSpec, T> set)
        {
            if (invocation.Has(option))
            {
                changes.Add((path, spec => set(spec, invocation.Get(option)!)));
            }
        }

        void Apply(Node node)
        {
            node.Spec.Overcommit ??= new();
            node.Spec.Reserved ??= new();
            changes.ForEach(change => change.Set(node.Spec));
        }
    }

    private static string Outcome(NodeSpec spec)
    {
        var overcommit = Layouts.Overcommitted(spec.Overcommit);
        var reserved = Layouts.Amounts(spec.Reserved);
        return $"overcommits {(overcommit.Length > 0 ? overcommit : "nothing")} and reserves {(reserved.Length > 0 ? reserved : "nothing")}";
    }

    private static bool TryMillicores(string text, out long millicores)
    {
        millicores = 0;
        return text == "0" || Quantity.TryMillicores(text, out millicores);
    }

    private static Option<double> Factor(string name, string description) => new(name)
    {
        Description = $"{description}; 0 or 1: no more than there is",
        HelpName = "FACTOR",
        CustomParser = result => double.TryParse(result.Tokens[0].Value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var factor)
            && factor is 0 or (>= 1 and <= 16)
            ? factor
            : CommonOptions.Fail<double>(result, $"{name}: '{result.Tokens[0].Value}' is no factor: {description}."),
    };
}
