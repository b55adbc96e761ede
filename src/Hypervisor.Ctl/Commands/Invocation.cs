using System.CommandLine;
using System.CommandLine.Parsing;
using Grpc.Core;
using Hypervisor.Ctl.Configuration;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands;

/// <summary>One run of one command: what was typed, where to write, and the connection once it is needed.</summary>
internal sealed class Invocation(ParseResult parse, GlobalOptions options, CtlEnvironment environment) : IDisposable
{
    private ServerConnection? _connection;
    private Context? _context;
    private bool _contextKnown;

    public CtlEnvironment Environment { get; } = environment;

    /// <summary>Set by commands that keep a stream open.</summary>
    public bool Streaming { get; set; }

    public ServerConnection Connection => _connection ??= new(ResolveServer(), Environment.Time, Environment.Random, Streaming);

    public ComputeService.ComputeServiceClient Compute => Connection.Compute;

    public ClusterService.ClusterServiceClient Cluster => Connection.Cluster;

    public GroupService.GroupServiceClient Groups => Connection.Groups;

    /// <summary>The project of requests; empty means the server's default.</summary>
    public string Project => ProjectGiven ?? NotEmpty(Environment.Variable("HYPERVISOR_PROJECT")) ?? CurrentContext?.Project ?? "";

    public string? ServerGiven => Get(options.Server);

    /// <summary>What --project says, null when not typed.</summary>
    public string? ProjectGiven => Get(options.Project);

    /// <summary>Words after "--".</summary>
    public IReadOnlyList<string> Trailing
    {
        get
        {
            var tokens = parse.Tokens;
            for (var i = 0; i < tokens.Count; i++)
            {
                if (tokens[i].Type == TokenType.DoubleDash)
                {
                    return [.. tokens.Skip(i + 1).Select(token => token.Value)];
                }
            }

            return [];
        }
    }

    public T? Get<T>(Option<T> option) => parse.GetValue(option);

    public T? Get<T>(Argument<T> argument) => parse.GetValue(argument);

    /// <summary>Whether the option was typed.</summary>
    public bool Has(Option option) => parse.GetResult(option) is { Implicit: false };

    public Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellationToken) =>
        Connection.CallAsync(call, cancellationToken);

    public string NewRequestId() => Environment.Random.NewUid();

    public Printer Printer(Option<OutputFormat> output) => new(Environment, Get(output));

    public void Dispose() => _connection?.Dispose();

    private Context? CurrentContext
    {
        get
        {
            if (!_contextKnown)
            {
                _context = ResolveContext();
                _contextKnown = true;
            }

            return _context;
        }
    }

    private static string? NotEmpty(string? value) => string.IsNullOrEmpty(value) ? null : value;

    private ServerAddress ResolveServer()
    {
        if (Get(options.Server) is { } flag)
        {
            return ServerAddress.Parse(flag, "--server");
        }

        // A context asked for on this command line outranks the environment; the file's current one does not.
        if (Get(options.Context) is null && NotEmpty(Environment.Variable("HYPERVISOR_SERVER")) is { } variable)
        {
            return ServerAddress.Parse(variable, "HYPERVISOR_SERVER");
        }

        return CurrentContext is { } context
            ? ServerAddress.Parse(context.Server, $"context '{context.Name}'")
            : ServerAddress.Parse(ServerAddress.Default, "the default");
    }

    private Context? ResolveContext()
    {
        var file = ContextFile.LoadIfPresent(Environment.Variable);
        var name = Get(options.Context) ?? file?.Current;
        if (name is null)
        {
            return null;
        }

        return file?.Find(name) ?? throw CtlException.Usage(
            $"There is no context '{name}'{(file is null ? "" : $" in {file.Path}")}.",
            "'hypervisor-ctl config get-contexts' lists them, 'hypervisor-ctl config set-context NAME --server HOST:PORT' makes one.");
    }
}
