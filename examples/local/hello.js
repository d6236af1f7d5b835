// The smallest action in JavaScript.
function main(args) {
  const name = args.name ?? 'stranger';
  console.log(`greeting ${name}`);
  return { greeting: `Hello, ${name}!` };
}
