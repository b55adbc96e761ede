using System.CommandLine;
using System.Globalization;
using Grpc.Core;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>What instances use; all that run when none is named. Watching, one line per sample.</summary>
internal sealed class StatsCommand : CtlCommand
{
    private readonly Argument<string[]> _names = new("instance")
    {
        Description = "Name, id or unique beginning of an id (default: all that run)",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private readonly Option<bool> _watch = new("--watch", "-w") { Description = "Go on with a sample every two seconds" };
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_names);
        command.Add(_watch);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = invocation.Get(_watch);
        var names = invocation.Get(_names) is { Length: > 0 } given ? given : await RunningAsync(invocation, cancellationToken);
        var view = new SampleView(invocation.Printer(_output), names);
        if (!invocation.Get(_watch))
        {
            return await EachName.RunAsync(names, name => name, invocation, async name => view.Write(name, await invocation.CallAsync(
                options => invocation.Compute.GetInstanceStatsAsync(new() { Project = invocation.Project, Instance = name }, options), cancellationToken)));
        }

        var codes = await Task.WhenAll(names.Select(name => WatchAsync(invocation, view, name, cancellationToken)));
        return codes.FirstOrDefault(code => code != ExitCode.Done, ExitCode.Done);
    }

    private static async Task<int> WatchAsync(Invocation invocation, SampleView view, string name, CancellationToken cancellationToken)
    {
        try
        {
            using var call = invocation.Compute.WatchInstanceStats(new() { Project = invocation.Project, Instance = name }, cancellationToken: cancellationToken);
            await OneStream.ReadAsync(invocation, call.ResponseStream, sample =>
            {
                view.Write(name, sample);
                invocation.Environment.Out.Flush();
            }, cancellationToken);
            return ExitCode.Done;
        }
        catch (RpcException exception)
        {
            return ErrorReport.Write(invocation.Environment, exception, name);
        }
    }

    private static async Task<string[]> RunningAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var names = new List<string>();
        var token = "";
        do
        {
            var request = new ListInstancesRequest { Project = invocation.Project, PageSize = Limits.PageSize, PageToken = token, View = InstanceView.Summary };
            request.States.Add(InstanceState.Running);
            var page = await invocation.CallAsync(options => invocation.Compute.ListInstancesAsync(request, options), cancellationToken);
            names.AddRange(page.Instances.Select(instance => instance.Metadata.Name));
            token = page.List?.NextPageToken ?? "";
        }
        while (token.Length > 0);
        return [.. names];
    }

    private sealed class SampleView(Printer printer, string[] names)
    {
        private readonly Lock _gate = new();
        private TableWriter? _table;

        public void Write(string name, InstanceStats stats)
        {
            lock (_gate)
            {
                if (printer.Format == OutputFormat.Name)
                {
                    printer.WriteName(name);
                }
                else if (!printer.ForPeople)
                {
                    printer.WriteDocument(stats);
                }
                else if (_table is null)
                {
                    _table = printer.Table([
                        "NAME".PadRight(names.Max(n => n.Length)), "CPU%  ", "CPU-TIME", "MEMORY   ", "LIMIT   ", "PIDS", "NET-IN  ", "NET-OUT ", "READ    ", "WRITTEN"]);
                    _table.Write([Row(name, stats)]);
                }
                else
                {
                    _table.Append(Row(name, stats));
                }
            }
        }

        private static Cell[] Row(string name, InstanceStats stats) =>
        [
            name,
            stats.CpuPercent.ToString("0.0", CultureInfo.InvariantCulture),
            string.Create(CultureInfo.InvariantCulture, $"{stats.CpuTime?.ToTimeSpan().TotalSeconds ?? 0:0.0}s"),
            Readable.Bytes(stats.MemoryBytes),
            stats.MemoryLimitBytes > 0 ? Readable.Bytes(stats.MemoryLimitBytes) : "-",
            stats.Pids.ToString(CultureInfo.InvariantCulture),
            stats.Network is null ? "-" : Readable.Bytes(stats.Network.ReceivedBytes),
            stats.Network is null ? "-" : Readable.Bytes(stats.Network.SentBytes),
            stats.Block is null ? "-" : Readable.Bytes(stats.Block.ReadBytes),
            stats.Block is null ? "-" : Readable.Bytes(stats.Block.WrittenBytes),
        ];
    }
}
