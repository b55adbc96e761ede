using System.CommandLine;

namespace Hypervisor.Ctl.Commands;

/// <summary>What every command takes.</summary>
internal sealed class GlobalOptions
{
    public Option<string> Server { get; } = new("--server")
    {
        Description = "Address of the server (also HYPERVISOR_SERVER; default 127.0.0.1:50051)",
        HelpName = "HOST:PORT",
        Recursive = true,
    };

    public Option<string> Context { get; } = new("--context")
    {
        Description = "Context of the configuration file to use",
        HelpName = "NAME",
        Recursive = true,
    };

    public Option<string> Project { get; } = new("--project")
    {
        Description = "Project (also HYPERVISOR_PROJECT)",
        HelpName = "NAME",
        Recursive = true,
    };

    public void AddTo(Command root)
    {
        root.Add(Server);
        root.Add(Context);
        root.Add(Project);
    }
}
