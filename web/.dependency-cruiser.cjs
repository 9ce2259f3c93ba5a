/**
 * The arrows of the web side: dashboard → react → client, and the client's core touches no world.
 *
 * The client's core is pure: no transport, no DOM, no Node. (Imports are kept out by this, globals by biome.)
 */
// Whoever touches the world; every other file of the client is core. biome.json has the same list.
const SHELL_NAMES = '(?:index|client|clock|http|reads|transports)\\.ts$'
const CLIENT_SHELL = `^packages/client/src/${SHELL_NAMES}`

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      comment: 'Two files that need each other are one file, or three.',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      comment: 'A file that nothing imports is dead.',
      from: {
        orphan: true,
        pathNot: ['\\.d\\.ts$', '\\.config\\.ts$', '/test/', 'src/(index|main)\\.tsx?$', '^examples/page\\.tsx$'],
      },
      to: {},
    },
    {
      name: 'not-to-unresolvable',
      severity: 'error',
      comment: 'Every import resolves from a clean install.',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'client-stands-alone',
      severity: 'error',
      comment: '@runstate/client depends on nothing of ours, and on no framework.',
      from: { path: '^packages/client/src' },
      to: { path: ['^packages/(?!client/)', '^apps/', 'node_modules/react'] },
    },
    {
      name: 'react-on-client-only',
      severity: 'error',
      comment: '@runstate/react is a thin skin: react and the client, nothing else.',
      from: { path: '^packages/react/src' },
      to: { pathNot: ['^packages/react/src', '^packages/client/src/index\\.ts$', 'node_modules/(@types/)?react/'] },
    },
    {
      name: 'pages-through-the-front-doors',
      severity: 'error',
      comment: 'The dashboard and the example use what users may use: the public names of the two packages.',
      from: { path: '^(apps/dashboard/src|examples/)' },
      to: { path: '^packages/', pathNot: '^packages/(client|react)/src/index\\.ts$' },
    },
    {
      name: 'client-core-is-pure',
      severity: 'error',
      comment: 'The core decides, the shell does: a core file imports core files and the hash function only.',
      from: { path: '^packages/client/src/', pathNot: CLIENT_SHELL },
      to: { path: '.', pathNot: ['node_modules/@noble/hashes/', `^packages/client/src/(?!${SHELL_NAMES})`] },
    },
    {
      name: 'model-is-pure',
      severity: 'error',
      comment: 'model/ holds values and functions of values: no React, no store, no component.',
      from: { path: '^apps/dashboard/src/(model/|format\\.ts)' },
      to: { pathNot: ['^apps/dashboard/src/(model/|format\\.ts)', '^packages/client/src/index\\.ts$'] },
    },
    {
      name: 'stores-know-no-react',
      severity: 'error',
      comment: 'A store is vanilla; React reads it through a hook.',
      from: { path: '^apps/dashboard/src/store/' },
      to: { path: ['node_modules/react', '^packages/react/', '^apps/dashboard/src/ui/'] },
    },
    {
      name: 'source-without-tests',
      severity: 'error',
      comment: 'Nothing that ships imports a test or its fakes.',
      from: { pathNot: ['/test/', '\\.config\\.ts$'] },
      to: { path: '/test/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist)/' },
    tsConfig: { fileName: 'tsconfig.base.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'default'],
      mainFields: ['module', 'main', 'types'],
    },
  },
}
