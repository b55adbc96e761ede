using Hypervisor.ClusterTests;
using Hypervisor.ClusterTests.Proof;
using Xunit.MicrosoftTestingPlatform;
using Xunit.Runner.InProc.SystemConsole;

// The program of the tests is also the program that they follow with strace: it writes records by the server's own store.
if (args is [RecordWriter.Argument, .. var rest])
{
    return await RecordWriter.RunAsync(rest);
}

// As xunit's generated entry point does.
return args.Any(argument => argument is "--server" or "--internal-msbuild-node")
    ? await TestPlatformTestFramework.RunAsync(args, SelfRegisteredExtensions.AddSelfRegisteredExtensions)
    : await ConsoleRunner.Run(args);
