using System.CommandLine;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Clusters;

internal sealed class InfoCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();

    public override void Declare(Command command)
    {
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var info = await _freshness.CallAsync(
            invocation,
            options => invocation.Cluster.GetClusterInfoAsync(new() { Consistency = _freshness.Of(invocation) }, options),
            cancellationToken);
        if (printer.Format == OutputFormat.Name)
        {
            printer.WriteName(info.ClusterUid);
        }
        else if (!printer.ForPeople)
        {
            printer.WriteDocument(info);
        }
        else
        {
            printer.WriteDetails(
                ("Server", invocation.Connection.Address.ToString()),
                ("Version", info.Version),
                ("Cluster", info.ClusterUid),
                ("Store", info.Store),
                ("Leader", info.Leader),
                ("Nodes", $"{info.NodesReady} ready of {info.NodesTotal}"),
                ("Instances", $"{info.InstancesRunning} running of {info.InstancesTotal}"),
                ("CPUs", Layouts.Share(info.Allocated?.CpuMillicores, info.Capacity?.CpuMillicores, Readable.Cpus)),
                ("Memory", Layouts.Share(info.Allocated?.MemoryBytes, info.Capacity?.MemoryBytes, Readable.Bytes)),
                ("Devices", Layouts.DeviceShares(info.Allocated, info.Capacity)));
            foreach (var condition in info.Conditions)
            {
                printer.WriteLine($"  {condition.Type} {condition.Status} ({condition.Reason}): {condition.Message}");
            }

            foreach (var replica in info.Replicas)
            {
                printer.WriteLine($"  replica {replica.Name} at {replica.GrpcAddress}{(replica.Leader ? ", leader" : "")}{Lag(replica)}");
            }
        }

        return ExitCode.Done;
    }

    private static string Lag(ServerReplica replica) => replica.Message.Length > 0 ? $", {replica.Message}"
        : replica.Lag?.ToTimeSpan() is { } lag && lag > TimeSpan.Zero
        ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $", {lag.TotalSeconds:0.0} s behind the store")
        : "";
}
