ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.11:80 -s lc -p 600 -M 255.255.0.0
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.14:8080 -i -w 1 --tun-type gre --tun-csum
ipvsadm -a -t 192.0.2.11:80 -r [2001:db8:2::18]:80 -i -w 100 --tun-type gre -x 1 -y 2
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.16:80 -i -w 1 --tun-type gre --tun-csum
ipvsadm -A -u 192.0.2.12:53 -s wrr
ipvsadm -a -u 192.0.2.12:53 -r 198.51.100.11:53 -m -w 4
ipvsadm -a -u 192.0.2.12:53 -r 198.51.100.18:53 -m -w 1
ipvsadm -A -u 192.0.2.12:80 -s lblc -p 600
ipvsadm -a -u 192.0.2.12:80 -r 198.51.100.17:80 -g -w 2
ipvsadm -a -u 192.0.2.12:80 -r 198.51.100.13:8080 -g -w 1
ipvsadm -a -u 192.0.2.12:80 -r 198.51.100.15:8080 -g -w 1
sysctl -w net.ipv4.vs.expire_quiescent_template=0
sysctl -w net.ipv4.vs.schedule_icmp=1
sysctl -w net.ipv4.vs.schedule_icmp=1
